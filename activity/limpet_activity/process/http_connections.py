"""HTTP connections of which those that send no request cannot keep others out."""

import asyncio
from typing import Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from limpet_activity.web.guard import HEADERS

MOST_CONNECTIONS: Final = 200
"""Of one server; then the one that has waited longest without a request makes room."""

HEADERS_S: Final = 10.0
"""In which a request's headers have to come, once the connection is there or their first byte is."""


class BoundedConnection(H11Protocol):
    """One connection, as uvicorn makes them."""

    until_headers: asyncio.TimerHandle | None = None
    """When it is closed, if they have not come."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See `asyncio.Protocol`."""
        super().connection_made(transport)
        self._wait()
        if len(self.connections) > MOST_CONNECTIONS:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        super().data_received(data)
        if not self.is_asked:
            self._wait()
        elif self.until_headers is not None:
            self.until_headers.cancel()
            self.until_headers = None

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        if self.until_headers is not None:
            self.until_headers.cancel()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP gets the headers of every other answer, too; nothing, where an answer has begun."""
        if self.cycle is not None:
            self.cycle.disconnected = True  # What its application still says goes nowhere.
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(msg)
        self.transport.close()

    def _refuse(self, msg: str) -> None:
        body = f"{msg}\n".encode()
        headers = {**HEADERS, "content-type": "text/plain; charset=utf-8", "cache-control": "no-store"}
        headers |= {"content-length": str(len(body)), "connection": "close"}
        answer = h11.Response(status_code=400, headers=list(headers.items()), reason="Bad Request")
        for event in (answer, h11.Data(data=body), h11.EndOfMessage()):
            if (data := self.conn.send(event)) is not None:
                self.transport.write(data)

    @property
    def is_asked(self) -> bool:
        """Whether a request is under way."""
        return self.cycle is not None and not self.cycle.response_complete

    def _wait(self) -> None:
        if self.until_headers is None:
            self.until_headers = self.loop.call_later(HEADERS_S, self._give_up)

    def _give_up(self) -> None:
        if not self.is_asked:
            self.transport.abort()

    def _make_room(self) -> None:
        # Those that stay open after an answer have no time to come; they go first.
        waiting = [
            (each.until_headers.when() if each.until_headers else 0.0, each)
            for each in self.connections
            if isinstance(each, BoundedConnection)
            and each is not self
            and not each.is_asked
            and not each.transport.is_closing()
        ]
        if waiting:
            min(waiting, key=lambda pair: pair[0])[1].transport.abort()
