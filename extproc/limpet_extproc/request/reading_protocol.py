"""What a worker and its reader say to each other: a length and that many bytes, in both directions."""

from typing import Final

import msgspec

from limpet_extproc.dialects import ChatRequest, Wrong

LENGTH_BYTES: Final = 8
"""Little endian."""


class Answer(msgspec.Struct, frozen=True, array_like=True):
    """What a reader says of a body; one of the three."""

    request: ChatRequest | None = None
    wrong: Wrong | None = None
    defect: str = ""
    """How it failed, which is a defect of ours: a traceback."""
