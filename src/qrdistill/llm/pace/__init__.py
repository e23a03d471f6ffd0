"""How fast a teacher is asked: limits, gates, and its addresses."""
