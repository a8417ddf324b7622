"""Reads what other workers tell: an event of a newer version, or one that makes no sense, costs only itself."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from limpet_extproc.contract.catalog import UNREADABLE
from limpet_extproc.providers.events import GatewayEvent, WorkerEvent


class ReadEvents(NamedTuple):
    """What could be read of a message."""

    events: Sequence[WorkerEvent]
    unread: int = 0
    """So many could not; a message that is no list at all counts as one."""
    error: Exception | None = None
    """Why, of the first of these."""


def _reader(
    all_of_them: Callable[[bytes], Sequence[WorkerEvent]],
    each: Callable[[bytes], list[msgspec.Raw]],
    one: Callable[[msgspec.Raw], WorkerEvent],
) -> Callable[[bytes], ReadEvents]:
    def read(data: bytes) -> ReadEvents:
        try:
            return ReadEvents(all_of_them(data))
        except UNREADABLE as error:
            try:
                parts = each(data)
            except UNREADABLE:
                return ReadEvents([], 1, error)
            events: list[WorkerEvent] = []
            for part in parts:
                try:
                    events.append(one(part))
                except UNREADABLE:
                    continue
            return ReadEvents(events, len(parts) - len(events), error)

    return read


read_json: Final = _reader(
    msgspec.json.Decoder(list[GatewayEvent]).decode,
    msgspec.json.Decoder(list[msgspec.Raw]).decode,
    msgspec.json.Decoder[GatewayEvent](GatewayEvent).decode,
)
"""Of the health stream."""

read_msgpack: Final = _reader(
    msgspec.msgpack.Decoder(list[WorkerEvent]).decode,
    msgspec.msgpack.Decoder(list[msgspec.Raw]).decode,
    msgspec.msgpack.Decoder[WorkerEvent](WorkerEvent).decode,
)
"""Of siblings' datagrams."""
