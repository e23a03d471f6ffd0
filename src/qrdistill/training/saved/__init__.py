"""What a training leaves on disk: checkpoints, the journal, metrics; and how it goes on from them."""
