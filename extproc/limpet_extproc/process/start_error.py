"""The error that ends a process before it serves."""

from collections.abc import Iterator
from contextlib import contextmanager


class StartError(Exception):
    """Something outside this process keeps it from starting; the message says what, and what to do."""


@contextmanager
def listening(flag: str, address: object) -> Iterator[None]:
    """Raises StartError where a flag's address or path does not let a server listen."""
    try:
        yield
    except OSError as error:
        # Python's own, as for too long a path, have only a text.
        raise StartError(f"{flag} {address}: cannot listen there: {error.strerror or error}") from error
