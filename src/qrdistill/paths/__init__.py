"""What teachers write: styles, prompts, requests, replayed files."""
