"""Records on their way in: batches from workers."""
