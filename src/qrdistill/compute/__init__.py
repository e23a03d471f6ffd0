"""Where a stage's work is done: in this process, or on Ray's workers. Nothing here imports Ray unless it is asked for."""
