"""What a run would take: here, and on GPUs that are not here."""
