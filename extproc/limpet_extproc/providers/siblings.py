"""What the workers beside one Envoy tell each other: how its attempts at the providers went.

Envoy's logs go to one worker each, failures to this one and answers to that one, so none would see the whole by itself:
who is out would never be seen to answer again. Each passes on what it hears, over Unix datagrams, after each batch of
log entries. What a sibling misses while it starts it learns from the next failures, as a worker alone would.
"""

import asyncio
import logging
import socket
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from limpet_extproc.decision.health import State
from limpet_extproc.providers.tracker import Providers

log = logging.getLogger(__name__)

_AT_ONCE: Final = 500
"""Events in one datagram, about 20 KB: far below what a socket takes."""
_MAX_BYTES: Final = 1 << 20
_MAX_UNSENT: Final = 100
_TRY_AGAIN_S: Final = 0.02
"""A socket holds few datagrams, so one that is busy for a moment is full."""


class Event(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """One thing that happened to a provider."""

    kind: Literal["succeeded", "generated", "failed", "limited", "trial"]
    provider: str
    now_s: float
    seconds: float | None = None
    """`succeeded`: to the first byte, if that was seen; `generated`: to the last; `limited`: how long to wait."""
    model: str = ""
    """Empty: it concerns the provider with all its models."""
    tokens: int = 0
    """`generated`: so many."""


class ToldProviders(Providers):
    """Providers that pass on what happens to them, and hear what happened elsewhere."""

    def __init__(self, on_change: Callable[[str, State], None], tell: Callable[[Event], None]) -> None:
        super().__init__(on_change)
        self._tell = tell

    def succeeded(self, provider: str, now_s: float, first_byte_s: float | None, model: str = "") -> None:
        """See `Providers`."""
        super().succeeded(provider, now_s, first_byte_s, model)
        self._tell(Event("succeeded", provider, now_s, first_byte_s, model))

    def generated(self, provider: str, tokens: int, seconds: float) -> None:
        """See `Providers`."""
        super().generated(provider, tokens, seconds)
        self._tell(Event("generated", provider, 0.0, seconds, tokens=tokens))

    def failed(self, provider: str, now_s: float, model: str = "") -> None:
        """See `Providers`."""
        super().failed(provider, now_s, model)
        self._tell(Event("failed", provider, now_s, None, model))

    def limited(self, provider: str, now_s: float, retry_after_s: float, model: str = "") -> None:
        """See `Providers`."""
        super().limited(provider, now_s, retry_after_s, model)
        self._tell(Event("limited", provider, now_s, retry_after_s, model))

    def begin_trial(self, provider: str, now_s: float, model: str = "") -> None:
        """See `Providers`."""
        super().begin_trial(provider, now_s, model)
        self._tell(Event("trial", provider, now_s, None, model))

    def hear(self, events: Iterable[Event]) -> None:
        """What another worker has seen, as if it had been seen here."""
        for event in events:
            if event.kind == "succeeded":
                super().succeeded(event.provider, event.now_s, event.seconds, event.model)
            elif event.kind == "generated":
                super().generated(event.provider, event.tokens, event.seconds or 0.0)
            elif event.kind == "failed":
                super().failed(event.provider, event.now_s, event.model)
            elif event.kind == "limited":
                super().limited(event.provider, event.now_s, event.seconds or 0.0, event.model)
            else:
                super().begin_trial(event.provider, event.now_s, event.model)


class Siblings:
    """The other workers: `tell` them in the loop that `start` was called in, and hear them by `on_events`."""

    def __init__(self, here: Path, others: Sequence[Path], on_events: Callable[[list[Event]], None]) -> None:
        self._here = here
        self._untold: list[Event] = []
        self._unsent: dict[str, deque[bytes]] = {str(other): deque(maxlen=_MAX_UNSENT) for other in others}
        self._trying_again: asyncio.TimerHandle | None = None
        self._on_events = on_events
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(list[Event])
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def start(self) -> None:
        """Listen. Raises OSError if the socket cannot be made."""
        self._here.unlink(missing_ok=True)
        self._socket.bind(str(self._here))
        asyncio.get_running_loop().add_reader(self._socket, self._hear)

    def close(self) -> None:
        """Listen no more."""
        asyncio.get_running_loop().remove_reader(self._socket)
        if self._trying_again is not None:
            self._trying_again.cancel()
        self._socket.close()
        self._here.unlink(missing_ok=True)

    def tell(self, event: Event) -> None:
        """Pass this on, together with all else that happens in this turn of the loop."""
        if not self._untold:
            asyncio.get_running_loop().call_soon(self._pack)
        self._untold.append(event)

    def _pack(self) -> None:
        events, self._untold = self._untold, []
        for begin in range(0, len(events), _AT_ONCE):
            data = self._encoder.encode(events[begin : begin + _AT_ONCE])
            for unsent in self._unsent.values():
                unsent.append(data)
        self._send()

    def _send(self) -> None:
        if self._trying_again is not None:
            self._trying_again.cancel()
            self._trying_again = None
        for other, unsent in self._unsent.items():
            try:
                while unsent:
                    self._socket.sendto(unsent[0], other)
                    unsent.popleft()
            except BlockingIOError:
                continue
            except OSError:
                unsent.clear()  # It is not there, and will go by what it sees itself.
        if any(self._unsent.values()):
            self._trying_again = asyncio.get_running_loop().call_later(_TRY_AGAIN_S, self._send)

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while True:
                data = self._socket.recv(_MAX_BYTES)
                try:
                    self._on_events(self._decoder.decode(data))
                except msgspec.MsgspecError as error:
                    log.warning("another worker speaks another language: %s. Do all run the same version?", error)


def sibling_socket(directory: Path, number: int) -> Path:
    """Where a worker hears the others."""
    return directory / f"sibling-{number}.sock"
