"""Whatever a client does that is allowed, each call has its whole answer, within the windows; what is not ends no more.

The model is the client: what it has sent, what it may still be sent, and what has come. After every step all that its
windows allow must have come, and nothing else.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

from hpack import Encoder
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from tests.extproc.envoy.h2_wire import (
    ACKED,
    ASK,
    BEGIN,
    ENDED,
    OK,
    TRAILERS,
    Echo,
    Frame,
    Served,
    data,
    headers,
    literal,
    raw,
    setting,
    whole,
)

from limpet_extproc.envoy import h2_frames as f
from limpet_extproc.envoy.h2_frames import frame, rst_stream, window_update

SIZES: Final = st.one_of(st.sampled_from([0, 1, 16_383, 16_384, 16_385, 70_000]), st.integers(0, 3_000))
WINDOWS: Final = st.one_of(st.integers(1, 100), st.sampled_from([16_384, 65_535, 300_000]))
CUTS: Final = st.lists(st.floats(0, 1), max_size=3)
EARLY: Final = b"early" * 5_000


@dataclass(slots=True)
class Sent:
    """A call, as its client knows it."""

    number: int
    window: int
    """What may still come."""
    body: bytes = b""
    ended: bool = False
    answer: bytes | None = None
    """All that is to come; None until the server answers."""
    came: bytearray = field(default_factory=bytearray)
    head: bool = False
    complete: bool = False
    """The answer has come to its end."""


class Client(RuleBasedStateMachine):
    """Sends what it may, and now and then something that it may not."""

    def __init__(self) -> None:
        super().__init__()
        self.served = Served(BEGIN)
        self.encoder = Encoder()
        self.may_have_table = True
        self.calls: dict[int, Sent] = {}
        self.last = -1
        self.window = f.DEFAULT_WINDOW
        self.first_window = f.DEFAULT_WINDOW
        self.expected: list[Frame] = []
        """Answers that are no call's, in their order."""
        self.over = False

    # What a client may do.

    @rule(
        skip=st.integers(0, 2),
        value=st.text("abcxyz", max_size=20),
        size=st.none() | SIZES,
        shape=st.sampled_from([0, f.PADDED, f.PRIORITISED, f.PADDED | f.PRIORITISED]),
        parts=st.integers(1, 3),
        table=st.booleans(),
        cuts=CUTS,
    )
    @precondition(lambda self: not self.over)
    def call(
        self, skip: int, value: str, size: int | None, shape: int, parts: int, table: bool, cuts: list[float]
    ) -> None:
        """Begin a call; of a size, it is sent at once."""
        self.last += 2 + 2 * skip
        call = self.calls[self.last] = Sent(self.last, self.first_window)
        lines = [*ASK, ("x", value)]
        block = self.encoder.encode(lines) if table else self._plain(lines)
        self._send(b"".join(_block(self.last, block, shape, parts)), cuts)
        (request,) = (each.request for each in self.served.requests if each.stream.number == self.last)
        assert request.metadata == {("x", value)}
        if size is not None:
            call.body = _bytes(self.last, size)
            self._end(call, data(self.last, call.body, end=True), cuts)

    def _plain(self, lines: list[tuple[str, str]]) -> bytes:
        """A block that neither reads nor changes the table, of an encoder that has said how large it is."""
        announced = b"".join(_size_update(each) for each in self.encoder.table_size_changes)
        self.encoder.table_size_changes = []
        return announced + literal(*((name.encode(), value.encode()) for name, value in lines))

    @rule(data_=st.data(), size=SIZES, padding=st.none() | st.integers(0, 255), end=st.booleans(), cuts=CUTS)
    @precondition(lambda self: not self.over and self._open())
    def send(self, data_: st.DataObject, size: int, padding: int | None, end: bool, cuts: list[float]) -> None:
        """A piece of a body."""
        call = data_.draw(st.sampled_from(self._open()))
        piece, flags = _bytes(size, size), f.END_STREAM if end else 0
        if call.answer is None:
            call.body += piece
        if padding is None:
            sent = raw(f.DATA, piece, flags=flags, stream=call.number)
        else:
            padded = bytes([padding]) + piece + bytes(padding)
            sent = raw(f.DATA, padded, flags=flags | f.PADDED, stream=call.number)
        if end:
            self._end(call, sent, cuts)
        else:
            self._send(sent, cuts)

    @rule(data_=st.data(), cuts=CUTS)
    @precondition(lambda self: not self.over and self._open())
    def trailers(self, data_: st.DataObject, cuts: list[float]) -> None:
        call = data_.draw(st.sampled_from(self._open()))
        self._end(call, whole(call.number, self._plain([("checksum", "1")])), cuts)

    @rule(data_=st.data())
    @precondition(lambda self: not self.over and self._open())
    def answer_early(self, data_: st.DataObject) -> None:
        """The server answers before the client has sent all."""
        call = data_.draw(st.sampled_from(self._open()))
        if call.answer is None:
            call.answer = EARLY
            self._echo(call.number).stream.send(OK, EARLY, ENDED)
            self._take(self.served.received())

    @rule(data_=st.data(), cuts=CUTS)
    @precondition(lambda self: not self.over and self.calls)
    def reset(self, data_: st.DataObject, cuts: list[float]) -> None:
        number = data_.draw(st.sampled_from(sorted(self.calls)))
        call = self.calls.pop(number)
        self._send(rst_stream(number, f.CANCEL), cuts)
        assert self._echo(number).cancelled or call.answer is not None

    @rule(data_=st.data(), more=WINDOWS, cuts=CUTS)
    @precondition(lambda self: not self.over)
    def widen(self, data_: st.DataObject, more: int, cuts: list[float]) -> None:
        number = data_.draw(st.sampled_from([0, *self.calls]))
        if number:
            self.calls[number].window += more
        else:
            self.window += more
        self._send(window_update(number, more), cuts)

    @rule(size=st.sampled_from([0, 1, 100, 16_384, f.DEFAULT_WINDOW, 200_000]), cuts=CUTS)
    @precondition(lambda self: not self.over)
    def set_window(self, size: int, cuts: list[float]) -> None:
        more, self.first_window = size - self.first_window, size
        for call in self.calls.values():
            call.window += more
        self.expected.append(Frame(f.SETTINGS, 0, f.ACK, b""))
        self._send(setting(f.INITIAL_WINDOW_SIZE, size), cuts)

    @rule(payload=st.binary(min_size=8, max_size=8), cuts=CUTS)
    @precondition(lambda self: not self.over)
    def ping(self, payload: bytes, cuts: list[float]) -> None:
        self.expected.append(Frame(f.PING, 0, f.ACK, payload))
        self._send(raw(f.PING, payload), cuts)

    @rule(
        sent=st.one_of(
            st.builds(raw, st.integers(10, 255), st.binary(max_size=50), flags=st.integers(0, 255)),
            st.builds(raw, st.just(f.PRIORITY), st.binary(min_size=5, max_size=5), stream=st.integers(1, 50)),
            st.just(raw(f.PING, bytes(8), flags=f.ACK)),
            st.just(raw(f.GOAWAY, bytes(8) + b"bye")),
        ),
        cuts=CUTS,
    )
    @precondition(lambda self: not self.over)
    def say_what_needs_no_answer(self, sent: bytes, cuts: list[float]) -> None:
        self._send(sent, cuts)

    @rule(cuts=CUTS)
    @precondition(lambda self: not self.over and self.may_have_table)
    def do_without_a_table(self, cuts: list[float]) -> None:
        self.may_have_table = False
        self.encoder.header_table_size = 0
        # None of the sizes that it had thought of before is allowed any more.
        self.encoder.table_size_changes = [0]
        self._send(ACKED, cuts)

    @rule(size=st.integers(0, 4_096))
    @precondition(lambda self: not self.over and self.may_have_table)
    def take_another_table(self, size: int) -> None:
        self.encoder.header_table_size = size

    # What it may not.

    @rule(data_=st.data(), cuts=CUTS)
    @precondition(lambda self: not self.over and self.calls)
    def break_a_stream(self, data_: st.DataObject, cuts: list[float]) -> None:
        """The call is reset, and no other."""
        number = data_.draw(st.sampled_from(sorted(self.calls)))
        call = self.calls[number]
        # A header block is made only where it is sent, as the encoder counts on that.
        checksum, wrong, again = [("checksum", "1")], [("Checksum", "1")], [*ASK]
        ways: list[tuple[Callable[[], bytes], int]] = [
            (lambda: raw(f.PRIORITY, bytes(4), stream=number), f.FRAME_SIZE_ERROR)
        ]
        if not call.complete:
            ways.append((lambda: window_update(number, 0), f.PROTOCOL_ERROR))
            if call.window > 0:
                ways.append((lambda: window_update(number, f.MAX_WINDOW), f.FLOW_CONTROL_ERROR))
        if not call.ended:
            ways.append((lambda: headers(number, self._plain(checksum)), f.PROTOCOL_ERROR))
            ways.append((lambda: whole(number, self._plain(wrong)), f.PROTOCOL_ERROR))
            ways.append((lambda: whole(number, self._plain(again)), f.PROTOCOL_ERROR))
        elif not call.complete:
            ways.append((lambda: data(number, b"more"), f.STREAM_CLOSED))
            ways.append((lambda: whole(number, self._plain(checksum)), f.STREAM_CLOSED))
        sent, code = ways[data_.draw(st.integers(0, len(ways) - 1))]
        del self.calls[number]
        self.expected.append(Frame(f.RST_STREAM, number, 0, code.to_bytes(4, "big")))
        self._send(sent(), cuts)

    @rule(data_=st.data(), cuts=CUTS)
    @precondition(lambda self: not self.over and self.calls)
    def break_the_connection(self, data_: st.DataObject, cuts: list[float]) -> None:
        """It says why, ends, and cancels what is under way."""
        idle = self.last + 2
        ways = {
            data(idle, b"a"): f.PROTOCOL_ERROR,
            data(0, b"a"): f.PROTOCOL_ERROR,
            rst_stream(idle, f.CANCEL): f.PROTOCOL_ERROR,
            window_update(idle, 1): f.PROTOCOL_ERROR,
            window_update(0, 0): f.PROTOCOL_ERROR,
            window_update(0, f.MAX_WINDOW): f.FLOW_CONTROL_ERROR if self.window > 0 else None,
            raw(f.CONTINUATION, TRAILERS, stream=self.last): f.PROTOCOL_ERROR,
            headers(idle, flags=0) + raw(f.PING, bytes(8)): f.PROTOCOL_ERROR,
            headers(2): f.PROTOCOL_ERROR,
            headers(idle, b"\x3f\xff\xff\x03"): f.COMPRESSION_ERROR,
            headers(idle, b"\xff\x80\x01"): f.COMPRESSION_ERROR,
            headers(idle, bytes(f.HEADER_BLOCK_BYTES + 1)): f.ENHANCE_YOUR_CALM,
            raw(f.DATA, b"\x05a", flags=f.PADDED, stream=self.last): f.PROTOCOL_ERROR if self._is_open() else None,
            raw(f.PING, bytes(7)): f.FRAME_SIZE_ERROR,
            raw(f.SETTINGS, bytes(5)): f.FRAME_SIZE_ERROR,
            raw(f.GOAWAY, bytes(7)): f.FRAME_SIZE_ERROR,
            raw(f.PRIORITY, bytes(4), stream=idle): f.FRAME_SIZE_ERROR,
            raw(99, bytes(f.MAX_RECEIVED_BYTES + 1)): f.FRAME_SIZE_ERROR,
            raw(f.PUSH_PROMISE, bytes(5), stream=self.last): f.PROTOCOL_ERROR,
            setting(f.ENABLE_PUSH, 2): f.PROTOCOL_ERROR,
            setting(f.INITIAL_WINDOW_SIZE, 1 << 31): f.FLOW_CONTROL_ERROR,
            setting(f.MAX_FRAME_SIZE, 1): f.PROTOCOL_ERROR,
        }
        sent = data_.draw(st.sampled_from(sorted(each for each, code in ways.items() if code is not None)))
        self.over = True
        *before, farewell = self._sent(sent, cuts)
        assert before == []
        assert (farewell.kind, farewell.stream) == (f.GOAWAY, 0)
        assert int.from_bytes(farewell.payload[4:8], "big") == ways[sent]
        assert int.from_bytes(farewell.payload[:4], "big") in (self.last, idle)
        assert self.served.wire.closed
        assert all(echo.cancelled or echo.ends or self._answered(echo) for echo in self.served.requests)

    @rule()
    @precondition(lambda self: self.over)
    def answer_what_is_over(self) -> None:
        """Of what ends only now nothing goes out any more."""
        for echo in self.served.requests:
            echo.stream.send(OK, b"late", ENDED)
        assert self.served.received() == []

    # What must hold.

    @invariant()
    def all_has_come_that_may(self) -> None:
        assert self.over or not self.served.wire.closed
        assert self.expected == []
        if self.over:
            return
        for call in self.calls.values():
            if call.answer is None:
                assert not call.head
            else:
                assert call.head
                rest = len(call.answer) - len(call.came)
                assert call.complete == (rest == 0)
                assert rest == 0 or min(call.window, self.window) <= 0

    def teardown(self) -> None:
        """In the end all that was begun is ended, with windows as wide as it takes."""
        if self.over:
            return
        for call in list(self._open()):
            self._end(call, data(call.number, b"", end=True), [])
        wide = 1 << 30
        self.window += wide
        self._send(window_update(0, wide), [])
        for call in self.calls.values():
            if not call.complete:
                call.window += wide
                self._send(window_update(call.number, wide), [])
        assert all(call.complete and bytes(call.came) == call.answer for call in self.calls.values())
        assert not self.served.connection.busy

    # How it is told.

    def _open(self) -> list[Sent]:
        return [call for call in self.calls.values() if not call.ended]

    def _is_open(self) -> bool:
        """Whether a body may come for the last call, and is still read."""
        call = self.calls.get(self.last)
        return call is not None and not call.ended and call.answer is None

    def _echo(self, number: int) -> Echo:
        (echo,) = (each for each in self.served.requests if each.stream.number == number)
        return echo

    def _answered(self, echo: Echo) -> bool:
        call = self.calls.get(echo.stream.number)
        return call is None or call.answer is not None

    def _end(self, call: Sent, sent: bytes, cuts: list[float]) -> None:
        call.ended = True
        if call.answer is None:
            call.answer = call.body
        self._send(sent, cuts)

    def _send(self, sent: bytes, cuts: list[float]) -> None:
        self._take(self._sent(sent, cuts))

    def _sent(self, sent: bytes, cuts: list[float]) -> list[Frame]:
        places = sorted({0, len(sent), *(int(each * len(sent)) for each in cuts)})
        return self.served.send(*(sent[begin:end] for begin, end in pairwise(places)))

    def _take(self, received: list[Frame]) -> None:
        for each in received:
            if each.kind == f.DATA:
                call = self.calls[each.stream]
                assert call.head
                assert not call.complete
                assert 0 < len(each.payload) <= f.FRAME_BYTES
                call.came += each.payload
                call.window -= len(each.payload)
                self.window -= len(each.payload)
                assert min(call.window, self.window) >= 0
                assert call.answer is not None
                assert call.answer.startswith(call.came)
            elif each.kind == f.HEADERS:
                self._headers(self.calls[each.stream], each)
            elif each.kind != f.WINDOW_UPDATE:
                assert [each] == self.expected[:1]
                del self.expected[0]

    def _headers(self, call: Sent, each: Frame) -> None:
        assert not call.complete
        if call.head:
            assert (each.payload, each.flags) == (ENDED, f.END_HEADERS | f.END_STREAM)
            assert bytes(call.came) == call.answer
            call.complete = True
        else:
            assert (each.payload, each.flags) == (OK, f.END_HEADERS)
            call.head = True


def _block(number: int, block: bytes, shape: int, parts: int) -> Iterator[bytes]:
    """The frames of a header block."""
    begin = 1 + len(block) // parts
    first, rest = block[:begin], block[begin:]
    if shape & f.PRIORITISED:
        first = bytes(5) + first
    if shape & f.PADDED:
        first = b"\x03" + first + bytes(3)
    yield frame(f.HEADERS, shape | (0 if rest else f.END_HEADERS), number, first)
    while rest:
        part, rest = rest[:begin], rest[begin:]
        yield frame(f.CONTINUATION, 0 if rest else f.END_HEADERS, number, part)


def _size_update(size: int) -> bytes:
    """A change of the table's size (RFC 7541, section 6.3)."""
    if size < 31:
        return bytes([0x20 | size])
    encoded, size = bytearray(b"\x3f"), size - 31
    while size >= 128:
        encoded.append(0x80 | size & 0x7F)
        size >>= 7
    return bytes([*encoded, size])


def _bytes(seed: int, size: int) -> bytes:
    """So many bytes, others for each seed."""
    some = bytes((seed + each) % 251 for each in range(251))
    return (some * (size // 251 + 1))[:size]


TestClient = Client.TestCase
TestClient.settings = hypothesis_settings(stateful_step_count=40)
