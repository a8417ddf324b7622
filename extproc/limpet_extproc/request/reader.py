"""`python -m limpet_extproc.request.reader`: reads large bodies for a worker, on the socket that is its standard input.

It ends when the worker does. One length and one body in, one length and one answer out.
"""

import socket
import sys
import traceback
from typing import Final

import msgspec

from limpet_extproc.dialects import BadRequest, Wrong, openai_chat
from limpet_extproc.dialects.spans import Body
from limpet_extproc.request.reading_protocol import LENGTH_BYTES, Answer

_ENCODER: Final = msgspec.msgpack.Encoder()


def answer(body: Body) -> Answer:
    """What the body says, or what is wrong with it."""
    try:
        return Answer(request=openai_chat.parse(body))
    except BadRequest as error:
        return Answer(wrong=Wrong(error.param, error.message))


def serve(connection: socket.socket) -> None:
    """Answer until the other side ends."""
    while (length := _receive(connection, LENGTH_BYTES)) is not None:
        body = _receive(connection, int.from_bytes(length, "little"))
        if body is None:
            return
        encoded = _encoded(body)
        del body  # so that the next one never lies beside it
        connection.sendall(len(encoded).to_bytes(LENGTH_BYTES, "little") + encoded)


def _encoded(body: Body) -> bytes:
    try:
        return _ENCODER.encode(answer(body))
    except Exception:
        # Not the end of this process: then the body would be read once more, and the next one would wait for a start.
        return _ENCODER.encode(Answer(defect=traceback.format_exc()))


def _receive(connection: socket.socket, size: int) -> bytearray | None:
    """Exactly so many bytes; None at the end of the connection."""
    data = bytearray(size)
    left = memoryview(data)
    while left:
        count = connection.recv_into(left)
        if not count:
            return None
        left = left[count:]
    return data


if __name__ == "__main__":
    serve(socket.socket(fileno=sys.stdin.fileno()))
