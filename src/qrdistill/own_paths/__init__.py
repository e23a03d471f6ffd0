"""Students as teachers: they write further paths, and what the filter keeps joins the pool."""
