"""The error that ends a process before it serves."""


class StartError(Exception):
    """Something outside this process keeps it from starting; the message says what, and what to do."""
