"""What a worker and its reader send each other, each piece behind its length: dialect and body, then the reply."""

from typing import Final, get_args

import msgspec

from limpet_extproc.dialects.port import ParsedRequest, Refusal
from limpet_extproc.request.references import Searched
from limpet_extproc.translation.untranslatable import Untranslatable

LENGTH_BYTES: Final = 8
"""Little endian."""

CHECK_TRANSLATION: Final = b"translation"
"""In place of a path: whether the body can be translated."""

FIND_REFERENCES: Final[dict[Searched, bytes]] = {
    searched: b"references " + searched.encode() for searched in get_args(Searched)
}
"""The same for which objects the body names."""


class ReaderReply(msgspec.Struct, frozen=True, array_like=True):
    """What became of a body; one of these, or none if it can be translated."""

    request: ParsedRequest | None = None
    refusal: Refusal | None = None
    bug: str = ""
    """A traceback: the reader itself failed."""
    untranslatable: Untranslatable | None = None
    references: tuple[str, ...] = ()
    """The objects that are named."""


def length_prefix(content: bytes | memoryview) -> bytes:
    """What goes before the content."""
    return len(content).to_bytes(LENGTH_BYTES, "little")
