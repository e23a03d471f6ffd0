"""What writes a student's completions: our own decoder, a server, or vLLM in this process."""
