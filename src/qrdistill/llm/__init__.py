"""How any model is asked over requests, by teachers and judges alike."""
