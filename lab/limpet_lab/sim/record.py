"""The last requests exactly as they arrived, for tests that prove what a proxy did and did not send."""

from base64 import b64encode
from collections import deque

import msgspec
from aiohttp import web


class Arrival(msgspec.Struct, frozen=True):
    """One request; `body` is base64 of its exact bytes."""

    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    """Names as they were written, in order, repeated ones repeated."""
    body: str


class Recorder:
    """A bounded list of arrivals, by number and by bytes."""

    def __init__(self, most: int = 200, most_bytes: int = 64 * 1024 * 1024) -> None:
        self._arrivals: deque[Arrival] = deque()
        self._most, self._most_bytes, self._bytes = most, most_bytes, 0

    def add(self, request: web.Request, body: bytes) -> None:
        """Keep a request; the oldest ones leave when there are too many or they are too big."""
        headers = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.raw_headers)
        arrival = Arrival(request.method, request.raw_path, headers, b64encode(body).decode())
        self._arrivals.append(arrival)
        self._bytes += len(arrival.body)
        while len(self._arrivals) > self._most or self._bytes > self._most_bytes:
            self._bytes -= len(self._arrivals.popleft().body)

    def report(self) -> list[Arrival]:
        """The recorded requests, oldest first."""
        return list(self._arrivals)

    def reset(self) -> None:
        """Drop everything."""
        self._arrivals.clear()
        self._bytes = 0
