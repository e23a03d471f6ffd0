"""A run: its config, its stages in order, its manifest, and how it is read."""
