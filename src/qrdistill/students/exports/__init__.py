"""The ways out of an exported folder: GGUF for llama.cpp and Ollama, and the commands that serve it."""
