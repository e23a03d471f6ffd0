"""Training on several processes: who holds which student, what crosses between them, what is saved."""
