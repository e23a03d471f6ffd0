"""Half price: a teacher's requests as files, through its provider's batch API."""
