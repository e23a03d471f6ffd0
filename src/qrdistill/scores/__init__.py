"""What the trained students know: answers, accuracies with intervals, ensembles."""
