"""The one look-up of names, and the config classes that a kind brings."""
