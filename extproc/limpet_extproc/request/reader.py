"""`python -m limpet_extproc.request.reader`: parses large bodies for a worker.

It talks to the worker on the socket that is its standard input, and ends when the worker does.
"""

import socket
import sys
import traceback
from typing import Final

import msgspec

from limpet_extproc.dialects.port import Refusal
from limpet_extproc.dialects.registry import spoken
from limpet_extproc.dialects.spans import Body
from limpet_extproc.request.large_memory import give_back_large_memory
from limpet_extproc.request.parsing import find_references, parse
from limpet_extproc.request.reading_protocol import (
    CHECK_TRANSLATION,
    FIND_REFERENCES,
    LENGTH_BYTES,
    ReaderReply,
    length_prefix,
)
from limpet_extproc.translation.request import untranslatable

_ENCODER: Final = msgspec.msgpack.Encoder()


def reply(path: bytes, body: Body) -> ReaderReply:
    """The request in the body, or what is wrong with it."""
    if path == CHECK_TRANSLATION:
        return ReaderReply(untranslatable=untranslatable(bytes(body)))
    for searched, command in FIND_REFERENCES.items():
        if path == command:
            ids = find_references(bytes(body), searched)
            return ReaderReply(refusal=ids) if isinstance(ids, Refusal) else ReaderReply(references=ids)
    found = spoken(path.decode())
    parsed = parse(found.dialect, body, found.asked)
    if isinstance(parsed, Refusal):
        return ReaderReply(refusal=parsed)
    # Here, as it would hold up other requests there too.
    return ReaderReply(request=msgspec.structs.replace(parsed, last_blocks=found.dialect.last_blocks(body)))


def serve(connection: socket.socket) -> None:
    """Reply until the other side closes the connection."""
    while (path := _receive(connection)) is not None:
        body = _receive(connection)
        if body is None:
            return
        encoded = _encoded(bytes(path), body)
        del body  # so that the next one never lies beside it
        connection.sendall(length_prefix(encoded) + encoded)


def _encoded(path: bytes, body: Body) -> bytes:
    try:
        return _ENCODER.encode(reply(path, body))
    except Exception:
        # Not the end of this process: then the body would be read once more, and the next one would wait for a start.
        return _ENCODER.encode(ReaderReply(bug=traceback.format_exc()))


def _receive(connection: socket.socket) -> bytearray | None:
    """The next piece; None at the end of the connection."""
    length = _receive_exactly(connection, LENGTH_BYTES)
    return None if length is None else _receive_exactly(connection, int.from_bytes(length, "little"))


def _receive_exactly(connection: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    rest = memoryview(data)
    while rest:
        count = connection.recv_into(rest)
        if not count:
            return None
        rest = rest[count:]
    return data


if __name__ == "__main__":
    give_back_large_memory()
    serve(socket.socket(fileno=sys.stdin.fileno()))
