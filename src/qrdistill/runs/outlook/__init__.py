"""What a training takes, told before it begins."""
