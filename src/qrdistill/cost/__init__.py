"""What a student costs before it is there: bytes, operations and seconds, from shapes alone."""
