"""What a student is: its model, tokens, forward, decoding and export."""
