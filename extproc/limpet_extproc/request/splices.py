"""Changes of a body as splices of its bytes: everything outside of them stays as the client wrote it."""

from typing import Final, Literal, NamedTuple

from limpet_extproc.dialects.spans import Member, cuts


class Splice(NamedTuple):
    """New text in the place of `length` bytes from `offset`; True is the provider's own name of the model."""

    offset: int
    length: int
    text: str | Literal[True]


Splices = tuple[Splice, ...]
"""In the order of the body, none over another."""

AnyBody = bytes | memoryview

NULL: Final = 0x6E
"""The first byte of `null`, with which no other value begins."""
BRACE: Final = 0x7B
_NEAR: Final = 64


class BodyDraft:
    """What changes on the way to one provider, while it is put together."""

    __slots__ = ("added", "cut", "splices")

    def __init__(self) -> None:
        self.cut: Final[list[Member]] = []
        """Members of the request itself."""
        self.added: Final[list[str]] = []
        """The same, each `"key":value`."""
        self.splices: Final[list[Splice]] = []

    def done(self, body: AnyBody) -> Splices:
        """All of it. Members of the request itself are added before all others, at least one of which has to stay."""
        found = [*self.splices, *(Splice(*cut, "") for cut in cuts(self.cut))] if self.cut else self.splices
        if self.added:
            found = [*found, Splice(_begin(body), 0, f"{','.join(self.added)},")]
        return tuple(sorted(found)) if len(found) > 1 else tuple(found)


def text_at(body: AnyBody, begin: int, end: int) -> str:
    """These bytes of a body, which is UTF-8."""
    return str(body[begin:end], "utf-8")


def _begin(body: AnyBody) -> int:
    return bytes(body[:_NEAR]).find(b"{") + 1 or bytes(body).index(b"{") + 1
