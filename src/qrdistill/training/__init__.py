"""Students train together: the step, its losses, its data, its state on disk."""
