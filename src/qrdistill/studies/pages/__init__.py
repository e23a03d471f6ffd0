"""The pages of studies that have sections of their own."""
