"""A trained student leaves its run: exported with its card, asked in the terminal, handed to a server."""
