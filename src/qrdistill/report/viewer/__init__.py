"""The viewer: every question of a run with its paths, their readers and the answers that came of them."""
