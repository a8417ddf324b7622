"""Where objects live that a provider keeps, such as responses and files, and whose they are: the port and its values.

Unlike the memory of conversations it is no advice: an object is nowhere else.
"""

from typing import Final, Protocol

import msgspec

KEPT_S: Final = 30 * 86_400.0
"""From when it was made. OpenAI keeps a response for 30 days (Responses API reference, 2026)."""


class ObjectPlace(msgspec.Struct, frozen=True, gc=False):
    """Where one lives."""

    provider: str
    owner: str
    """`identity.Owner.name` of the client that made it."""


class PlacesUnknownError(Exception):
    """The memory is away: whether an object is known cannot be told at present."""


class ObjectMemory(Protocol):
    """Keys are `identity.object_key`."""

    async def place(self, key: bytes, now_s: float) -> ObjectPlace | None:
        """Where this one lives; None: it is not known. Raises `PlacesUnknownError`."""

    def note_place(self, key: bytes, place: ObjectPlace, now_s: float) -> None:
        """It was made there. Nothing happens to one that is known as another owner's."""
