"""Runs whose parts several processes do."""
