"""The installation's secret for conversation keys."""

from pathlib import Path
from typing import Final

from limpet_extproc.process.start_error import StartError

_MIN_BYTES: Final = 16
"""A shorter secret could be found by trial and error; conversations could then be recognised in the memory."""


def read_memory_key(file: Path) -> bytes:
    """The bytes of the file, unchanged. Raises StartError."""
    try:
        key = file.read_bytes()
    except OSError as error:
        raise StartError(f"--memory-key-file {file} cannot be read: {error.strerror}") from error
    if len(key) < _MIN_BYTES:
        raise StartError(
            f"--memory-key-file {file} holds {len(key)} bytes, and at least {_MIN_BYTES} are needed: "
            "fill it with 32 random ones (openssl rand -base64 32)"
        )
    return key
