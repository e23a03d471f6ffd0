"""Which way of batching changes no loss of a student."""
