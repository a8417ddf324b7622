"""What a client has sent half of: it has a bound on each connection, in time before the preface, and then in bytes."""

import asyncio

import pytest
from tests.extproc.envoy.h2_wire import BEGIN, Alarms, Frame, Served, Wire, data, frames, headers

from limpet_extproc.envoy import h2_frames as f
from limpet_extproc.envoy.calls import Streaming, Unary
from limpet_extproc.envoy.grpc_server import RESOURCE_EXHAUSTED, Call, UnaryCall, Unfinished
from limpet_extproc.envoy.h2_connection import Connection
from limpet_extproc.envoy.h2_frames import CANCEL, PREFACE, rst_stream, settings


@pytest.mark.parametrize("begin", [b"", PREFACE[:10], PREFACE, PREFACE + settings(())[:5]])
def test_a_client_that_does_not_say_what_it_speaks_is_hung_up_on(begin: bytes) -> None:
    served = Served(begin)
    assert served.alarms.ring() == 1
    assert not served.wire.closed, "what has come may not have been read yet"
    assert served.alarms.ring() == 1
    (last,) = served.received()
    assert last.kind == f.GOAWAY
    assert int.from_bytes(last.payload[4:8], "big") == f.SETTINGS_TIMEOUT
    assert served.wire.closed
    assert served.alarms.ring() == 0


@pytest.mark.parametrize("looks", [0, 1])
def test_one_that_says_it_has_all_the_time(looks: int) -> None:
    served = Served(PREFACE[:10])
    for _ in range(looks):
        assert served.alarms.ring() == 1
    served.send(BEGIN[10:])
    assert served.alarms.ring() == 0
    served.send(headers())
    assert served.alarms.ring() == 0
    assert not served.wire.closed


def test_one_that_has_hung_up_is_not_waited_for() -> None:
    served = Served(PREFACE[:10])
    served.connection.connection_lost(None)
    assert served.alarms.ring() == 0


async def _at_once(_: object) -> bytes:
    return b"done"


async def _echo(message: bytes | memoryview) -> bytes:
    return bytes(message)


class Halves:
    """A connection with so much room for unfinished messages; they are 120 bytes long, and sent in halves.

    Beginnings of 20 bytes count as small.
    """

    HALF = b"\x00" + (115).to_bytes(4, "big") + bytes(55)
    REST = bytes(60)

    def __init__(self, room_bytes: int) -> None:
        self.wire = Wire()
        echo, unfinished = Unary(_echo), Unfinished(room_bytes, 20)
        self.connection = Connection(
            lambda stream, _: UnaryCall(echo, stream, 1000, unfinished), set(), 1000, Alarms().later
        )
        self.connection.connection_made(self.wire)
        self.connection.data_received(BEGIN)
        self.wire.written.clear()

    def send(self, *sent: bytes) -> dict[int, list[Frame]]:
        """The answers to that, by stream."""
        self.connection.data_received(b"".join(sent))
        found: dict[int, list[Frame]] = {}
        for each in frames(b"".join(self.wire.written)):
            found.setdefault(each.stream, []).append(each)
        self.wire.written.clear()
        return found

    def begin(self, *streams: int) -> bool:
        """Send the first half of a message on each; whether nothing is answered yet."""
        return not self.send(*(part for stream in streams for part in (headers(stream), data(stream, Halves.HALF))))


def _refused(answer: list[Frame]) -> bool:
    return b"grpc-status\x01%d" % RESOURCE_EXHAUSTED in answer[-1].payload


async def test_messages_that_are_not_whole_have_a_bound_on_each_connection() -> None:
    halves = Halves(120)
    assert halves.begin(1, 3)
    assert _refused(halves.send(headers(5), data(5, Halves.HALF))[5])
    assert not _refused(halves.send(data(1, Halves.REST, end=True))[1]), "the others go on"
    assert halves.begin(7), "one that is whole makes room"
    assert _refused(halves.send(headers(9), data(9, Halves.HALF))[9])


async def test_a_message_alone_may_be_longer_than_that() -> None:
    halves = Halves(50)
    assert halves.begin(1)
    assert not _refused(halves.send(data(1, Halves.REST[1:]), data(1, b"\x00", end=True))[1])


async def test_what_is_announced_takes_no_room() -> None:
    halves = Halves(120)
    announced = b"\x00" + (900).to_bytes(4, "big") + bytes(55)
    assert not halves.send(headers(1), data(1, announced))
    assert halves.begin(3)


async def test_small_ones_do_not_fail_for_a_large_one() -> None:
    halves = Halves(50)
    assert halves.begin(1)
    small = b"\x00" + (20).to_bytes(4, "big") + bytes(15)
    assert not halves.send(headers(3), data(3, small))
    assert not halves.send(data(1, Halves.REST[1:])), "nor a large one for them"
    assert not _refused(halves.send(data(3, bytes(5), end=True))[3])


async def test_a_call_that_its_handler_ends_makes_room() -> None:
    unfinished, wire = Unfinished(120, 20), Wire()
    connection = Connection(
        lambda stream, _: Call(Streaming(_at_once), stream, 1000, unfinished), set(), 1000, Alarms().later
    )
    connection.connection_made(wire)
    connection.data_received(BEGIN + headers(1) + data(1, Halves.HALF))
    assert not unfinished.may_grow(61, 61)
    unfinished.let_go(61)
    await asyncio.sleep(0)
    assert unfinished.may_grow(61, 61)
    unfinished.let_go(61)
    assert unfinished.may_grow(120, 120)


@pytest.mark.parametrize("end", [rst_stream(1, CANCEL), data(1, b"", end=True)], ids=["reset", "ended"])
async def test_a_call_that_ends_within_its_message_makes_room(end: bytes) -> None:
    halves = Halves(120)
    assert halves.begin(1, 3)
    halves.send(end)
    assert halves.begin(5)
    assert _refused(halves.send(headers(7), data(7, Halves.HALF))[7])
