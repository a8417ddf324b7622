"""Clients of a worker's Unix socket that speak HTTP/2 and do not read: one not at all, one without any window."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from limpet_extproc.contract.envoy import HEAD_ATTRIBUTE, ONE_MESSAGE
from limpet_extproc.envoy import h2_frames as h2
from limpet_extproc.envoy.h2_frames import frame, header_block
from limpet_extproc.envoy.server import METHOD
from limpet_lab.bench.latency_load import body

_ATTRIBUTES: Final = "envoy.filters.http.ext_proc"
_PSEUDO: Final = ((":method", "POST"), (":scheme", "http"), (":path", METHOD), (":authority", "limpet"))
_CALL: Final = header_block(*_PSEUDO, ("content-type", "application/grpc"), ("te", "trailers"), ONE_MESSAGE)
_BODY_BYTES: Final = 2_000


@dataclass(slots=True)
class Stalls:
    """What a client has sent without reading, and how often the worker has hung up on it for that."""

    calls: int = 0
    disconnected: int = 0


async def stalling(socket: Path, window: int, stalls: Stalls, pause_s: float) -> None:
    """Call for ever and read nothing of the answers, for each of which there is this window."""
    message = _message()
    while True:
        _, writer = await asyncio.open_unix_connection(socket)
        try:
            await _call_on(writer, window, message, stalls, pause_s)
        except ConnectionError:
            stalls.disconnected += 1
        finally:
            writer.transport.abort()


async def _call_on(writer: asyncio.StreamWriter, window: int, message: bytes, stalls: Stalls, pause_s: float) -> None:
    # Nothing reads from here on: not even what the loop would read by itself.
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    writer.write(
        h2.PREFACE
        + h2.settings([(h2.INITIAL_WINDOW_SIZE, window)])
        + h2.window_update(0, h2.MAX_WINDOW - h2.DEFAULT_WINDOW)
        + frame(h2.SETTINGS, h2.ACK, 0)
    )
    for number in range(1, h2.MAX_WINDOW, 2):
        writer.write(frame(h2.HEADERS, h2.END_HEADERS, number, _CALL) + frame(h2.DATA, h2.END_STREAM, number, message))
        await writer.drain()
        stalls.calls += 1
        await asyncio.sleep(pause_s)


def _message() -> bytes:
    """A turn as Envoy sends it, with gRPC's five bytes before it."""
    request = pb.ProcessingRequest()
    request.request_body.body = body(0, _BODY_BYTES)
    request.request_body.end_of_stream = True
    lines = ":path /v1/chat/completions\ncontent-type application/json\nauthorization "
    request.attributes[_ATTRIBUTES].fields[HEAD_ATTRIBUTE].string_value = lines
    encoded: bytes = request.SerializeToString()
    return b"\x00" + len(encoded).to_bytes(4, "big") + encoded
