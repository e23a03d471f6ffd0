"""What counts as right: the only comparer, and one module per kind of answer."""
