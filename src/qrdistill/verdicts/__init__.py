"""Which paths are sound enough to train on: checks, judges, and the account of every path."""
