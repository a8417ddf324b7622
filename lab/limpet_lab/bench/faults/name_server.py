"""A name server on loopback that knows one domain, until it is told to forget it.

It reads as much of DNS (RFC 1035) as Envoy's resolver sends: one question, for an address.
"""

import asyncio
import struct
from types import TracebackType
from typing import Final, Self, cast

DOMAIN: Final = "sellers.example"
"""Every name below it is on loopback."""
TTL_S: Final = 1

_HEADER: Final = struct.Struct("!6H")
_A: Final = 1
_ANSWER: Final = 0x8580
"""Flags of an answer: authoritative, recursion desired and available."""
_NO_SUCH_NAME: Final = 3
_NAME_OF_QUESTION: Final = b"\xc0\x0c"
_LOOPBACK: Final = bytes((127, 0, 0, 1))


def answer(query: bytes, *, known: bool) -> bytes:
    """The answer to a query; `known`: whether the domain exists. Raises ValueError for bytes that are no query."""
    if len(query) < _HEADER.size:
        raise ValueError("shorter than a header")
    number, _, questions, *_ = _HEADER.unpack_from(query)
    labels, end = [], _HEADER.size
    while end < len(query) and query[end]:
        labels.append(query[end + 1 : end + 1 + query[end]].decode("ascii").lower())
        end += 1 + query[end]
    question = query[_HEADER.size : end + 5]
    if questions != 1 or len(question) != end + 5 - _HEADER.size:
        raise ValueError("not one whole question")
    exists = known and ".".join(labels).endswith(f".{DOMAIN}")
    has_address = exists and int.from_bytes(question[-4:-2]) == _A
    flags = _ANSWER if exists else _ANSWER | _NO_SUCH_NAME
    record = struct.pack("!HHIH", _A, 1, TTL_S, 4) + _LOOPBACK
    head = _HEADER.pack(number, flags, 1, int(has_address), 0, 0)
    return head + question + (_NAME_OF_QUESTION + record if has_address else b"")


class NameServer(asyncio.DatagramProtocol):
    """A running one; `async with`. `known` may be changed at any time."""

    def __init__(self) -> None:
        self.known = True
        self.port = 0
        self._transport: asyncio.DatagramTransport | None = None

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._transport, _ = await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", 0))
        self.port = self._transport.get_extra_info("sockname")[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._transport is not None:
            self._transport.close()

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Answer one query; what is none gets no answer."""
        try:
            reply = answer(data, known=self.known)
        except (ValueError, IndexError):
            return
        if self._transport is not None:
            self._transport.sendto(reply, cast("tuple[str, int]", addr))
