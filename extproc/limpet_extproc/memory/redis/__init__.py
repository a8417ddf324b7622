"""The memory that all workers of an installation share, in Redis."""
