"""HTTP/2 as Envoy speaks it, and as no client should: incoming frames and the answers to them."""

from itertools import pairwise

import h2.config
import h2.connection
import h2.events
import pytest
from h2.settings import SettingCodes, Settings
from hpack import Encoder
from hypothesis import given
from hypothesis import strategies as st
from tests.extproc.envoy.h2_wire import (
    ACKED,
    ASK,
    BEGIN,
    ENDED,
    MAX_BODY_BYTES,
    OK,
    REQUEST,
    TRAILERS,
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
from limpet_extproc.envoy import h2_requests, h2_sending
from limpet_extproc.envoy.h2_connection import MAX_STREAMS, WINDOW_BYTES
from limpet_extproc.envoy.h2_frames import PREFACE, Request, frame, header_block, rst_stream, settings, window_update
from limpet_extproc.envoy.h2_stream import REPLENISH_BYTES

PSEUDO = tuple((name.encode(), value.encode()) for name, value in ASK)
LONG = header_block(("a", "x" * 20_000))
NOT_ENDED = headers(flags=0)

BREAKS_THE_CONNECTION = {
    "a frame larger than we allow": (data(1, bytes(f.MAX_RECEIVED_BYTES + 1)), f.FRAME_SIZE_ERROR),
    "an unknown frame larger than we allow": (raw(99, bytes(f.MAX_RECEIVED_BYTES + 1)), f.FRAME_SIZE_ERROR),
    "CONTINUATION without HEADERS": (raw(f.CONTINUATION, REQUEST, stream=1), f.PROTOCOL_ERROR),
    "CONTINUATION after ended HEADERS": (headers() + raw(f.CONTINUATION, b"", stream=1), f.PROTOCOL_ERROR),
    "CONTINUATION of another stream": (NOT_ENDED + raw(f.CONTINUATION, b"", stream=3), f.PROTOCOL_ERROR),
    "another frame within headers": (NOT_ENDED + raw(f.PING, bytes(8)), f.PROTOCOL_ERROR),
    "an unknown frame within headers": (NOT_ENDED + raw(99, b""), f.PROTOCOL_ERROR),
    "other headers within headers": (NOT_ENDED + headers(3), f.PROTOCOL_ERROR),
    "data padded with more than there is": (headers() + raw(f.DATA, b"\x05abcd", flags=f.PADDED, stream=1), 1),
    "data padded with an unsaid length": (headers() + raw(f.DATA, b"", flags=f.PADDED, stream=1), f.FRAME_SIZE_ERROR),
    "headers padded with more than there is": (headers(1, b"\xff" + REQUEST, flags=f.PADDED), f.PROTOCOL_ERROR),
    "headers too short for their priority": (headers(1, b"abcd", flags=f.PRIORITISED), f.FRAME_SIZE_ERROR),
    "headers too short for padding and priority": (headers(1, bytes(5), flags=f.PADDED | f.PRIORITISED), 6),
    "data on stream 0": (data(0, b"a"), f.PROTOCOL_ERROR),
    "data on a stream that has not begun": (data(1, b"a"), f.PROTOCOL_ERROR),
    "data on a stream of ours": (headers(3) + data(2, b"a"), f.PROTOCOL_ERROR),
    "headers on stream 0": (headers(0), f.PROTOCOL_ERROR),
    "headers on a stream of ours": (headers(2), f.PROTOCOL_ERROR),
    "headers on a skipped stream": (headers(3) + headers(1), f.STREAM_CLOSED),
    "headers on a stream that has ended": (whole() + headers(), f.STREAM_CLOSED),
    "RST_STREAM of stream 0": (rst_stream(0, f.CANCEL), f.PROTOCOL_ERROR),
    "RST_STREAM of a stream that has not begun": (rst_stream(1, f.CANCEL), f.PROTOCOL_ERROR),
    "RST_STREAM of a stream of ours": (headers(3) + rst_stream(2, f.CANCEL), f.PROTOCOL_ERROR),
    "RST_STREAM of 3 bytes": (headers() + raw(f.RST_STREAM, bytes(3), stream=1), f.FRAME_SIZE_ERROR),
    "PRIORITY of stream 0": (raw(f.PRIORITY, bytes(5)), f.PROTOCOL_ERROR),
    "PRIORITY of 4 bytes of a stream that has not begun": (raw(f.PRIORITY, bytes(4), stream=1), f.FRAME_SIZE_ERROR),
    "PRIORITY of 4 bytes of a stream of ours": (headers(3) + raw(f.PRIORITY, bytes(4), stream=2), f.FRAME_SIZE_ERROR),
    "PUSH_PROMISE": (headers() + raw(f.PUSH_PROMISE, bytes(4) + REQUEST, stream=1), f.PROTOCOL_ERROR),
    "GOAWAY of a stream": (headers() + raw(f.GOAWAY, bytes(8), stream=1), f.PROTOCOL_ERROR),
    "GOAWAY of 7 bytes": (raw(f.GOAWAY, bytes(7)), f.FRAME_SIZE_ERROR),
    "SETTINGS of a stream": (raw(f.SETTINGS, b"", stream=1), f.PROTOCOL_ERROR),
    "SETTINGS that end within one": (raw(f.SETTINGS, bytes(7)), f.FRAME_SIZE_ERROR),
    "SETTINGS in an acknowledgement": (raw(f.SETTINGS, bytes(6), flags=f.ACK), f.FRAME_SIZE_ERROR),
    "ENABLE_PUSH that is no bool": (setting(f.ENABLE_PUSH, 2), f.PROTOCOL_ERROR),
    "a first window too wide": (setting(f.INITIAL_WINDOW_SIZE, 1 << 31), f.FLOW_CONTROL_ERROR),
    "frames smaller than the least": (setting(f.MAX_FRAME_SIZE, f.FRAME_BYTES - 1), f.PROTOCOL_ERROR),
    "frames larger than the most": (setting(f.MAX_FRAME_SIZE, 1 << 24), f.PROTOCOL_ERROR),
    "open windows made too wide by a setting": (
        headers() + window_update(1, 1 << 20) + setting(f.INITIAL_WINDOW_SIZE, f.MAX_WINDOW),
        f.FLOW_CONTROL_ERROR,
    ),
    "a PING of 7 bytes": (raw(f.PING, bytes(7)), f.FRAME_SIZE_ERROR),
    "a PING of a stream": (headers() + raw(f.PING, bytes(8), stream=1), f.PROTOCOL_ERROR),
    "WINDOW_UPDATE of 0": (window_update(0, 0), f.PROTOCOL_ERROR),
    "WINDOW_UPDATE over the top": (window_update(0, f.MAX_WINDOW), f.FLOW_CONTROL_ERROR),
    "WINDOW_UPDATE of 5 bytes": (raw(f.WINDOW_UPDATE, bytes(5)), f.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of a stream that has not begun": (window_update(1, 1), f.PROTOCOL_ERROR),
    "WINDOW_UPDATE of a stream of ours": (headers(3) + window_update(2, 1), f.PROTOCOL_ERROR),
    "headers of an index that is in no table": (headers(1, b"\xff\x80\x01"), f.COMPRESSION_ERROR),
    "headers that end within one": (headers(1, b"\x00\x05ab"), f.COMPRESSION_ERROR),
    "headers of a number without end": (headers(1, b"\xff" * 20), f.COMPRESSION_ERROR),
    "headers of no Huffman code": (headers(1, b"\x00\x01a\x84\xff\xff\xff\xff"), f.COMPRESSION_ERROR),
    "a table larger than was ever allowed": (headers(1, b"\x3f\xe2\x1f" + REQUEST), f.COMPRESSION_ERROR),
    "a table that stays though we allow none": (ACKED + headers(1, REQUEST[1:]), f.COMPRESSION_ERROR),
    "trailers that cannot be decoded": (headers() + headers(1, b"\x80", flags=5), f.COMPRESSION_ERROR),
    "a header block too large in one frame": (headers(1, bytes(f.HEADER_BLOCK_BYTES + 1)), f.ENHANCE_YOUR_CALM),
    "a header block too large in many": (
        headers(1, LONG, flags=0) + raw(f.CONTINUATION, LONG, stream=1) * 3,
        f.ENHANCE_YOUR_CALM,
    ),
    "headers too large when decoded": (headers(1, b"\x40\x01a\x7f\x81\x1e" + b"x" * 4000 + b"\xbe" * 20), 9),
}  # fmt: skip


@pytest.mark.parametrize(("sent", "code"), BREAKS_THE_CONNECTION.values(), ids=BREAKS_THE_CONNECTION)
def test_what_breaks_the_connection_is_answered_with_goaway_and_a_hang_up(sent: bytes, code: int) -> None:
    served = Served()
    last = served.send(sent)[-1]
    assert (last.kind, int.from_bytes(last.payload[4:8], "big")) == (f.GOAWAY, code)
    assert served.wire.closed
    assert all(echo.cancelled or echo.ends for echo in served.requests)


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\n\r\n", b"X", PREFACE[:-1] + b"\r" + settings(()), bytes(100)])
def test_a_client_that_does_not_speak_http2_is_disconnected(sent: bytes) -> None:
    served = Served(b"")
    assert [each.kind for each in served.send(sent)] == [f.GOAWAY]
    assert served.wire.closed


@pytest.mark.parametrize("first", [raw(f.PING, bytes(8)), ACKED, whole()], ids=["a ping", "only an answer", "a call"])
def test_a_client_that_does_not_begin_with_its_settings_is_disconnected(first: bytes) -> None:
    served = Served(b"")
    (farewell,) = served.send(PREFACE, first[:8], first[8:])
    assert (farewell.kind, int.from_bytes(farewell.payload[4:8], "big")) == (f.GOAWAY, f.PROTOCOL_ERROR)
    assert served.wire.closed


def malformed(*lines: tuple[bytes, bytes]) -> bytes:
    return headers(1, literal(*lines))


SAID = malformed(*PSEUDO, (b"content-length", b"3"), (b"content-length", b"3"))

BREAKS_A_STREAM = {
    "a name in capitals": (malformed(*PSEUDO, (b"A", b"1")), f.PROTOCOL_ERROR),
    "a name with a space": (malformed(*PSEUDO, (b"a b", b"1")), f.PROTOCOL_ERROR),
    "a name with a colon": (malformed(*PSEUDO, (b"a:b", b"1")), f.PROTOCOL_ERROR),
    "a name that is not ASCII": (malformed(*PSEUDO, (b"\xe4", b"1")), f.PROTOCOL_ERROR),
    "a name that is empty": (malformed(*PSEUDO, (b"", b"1")), f.PROTOCOL_ERROR),
    "a value of two lines": (malformed(*PSEUDO, (b"a", b"1\r\nb: 2")), f.PROTOCOL_ERROR),
    "a value with a NUL": (malformed(*PSEUDO, (b"a", b"1\0")), f.PROTOCOL_ERROR),
    "a value that begins with a space": (malformed(*PSEUDO, (b"a", b" 1")), f.PROTOCOL_ERROR),
    "a value that ends with a tab": (malformed(*PSEUDO, (b"a", b"1\t")), f.PROTOCOL_ERROR),
    "a path of two lines": (malformed(*PSEUDO[:2], (b":path", b"/\n")), f.PROTOCOL_ERROR),
    "no method": (malformed(*PSEUDO[1:]), f.PROTOCOL_ERROR),
    "no scheme": (malformed(PSEUDO[0], PSEUDO[2]), f.PROTOCOL_ERROR),
    "no path": (malformed(*PSEUDO[:2]), f.PROTOCOL_ERROR),
    "an empty path": (malformed(*PSEUDO[:2], (b":path", b"")), f.PROTOCOL_ERROR),
    "no headers at all": (headers(1, b""), f.PROTOCOL_ERROR),
    "no pseudo-headers at all": (malformed((b"a", b"1")), f.PROTOCOL_ERROR),
    "a path twice": (malformed(*PSEUDO, (b":path", b"/")), f.PROTOCOL_ERROR),
    "a pseudo-header of an answer": (malformed(*PSEUDO, (b":status", b"200")), f.PROTOCOL_ERROR),
    "a pseudo-header of nobody": (malformed(*PSEUDO, (b":limpet", b"1")), f.PROTOCOL_ERROR),
    "a pseudo-header after another": (malformed(*PSEUDO[:3], (b"a", b"1"), PSEUDO[3]), f.PROTOCOL_ERROR),
    "a header of a connection": (malformed(*PSEUDO, (b"connection", b"close")), f.PROTOCOL_ERROR),
    "chunks": (malformed(*PSEUDO, (b"transfer-encoding", b"chunked")), f.PROTOCOL_ERROR),
    "te that is not trailers": (malformed(*PSEUDO, (b"te", b"gzip")), f.PROTOCOL_ERROR),
    "a length that is no number": (malformed(*PSEUDO, (b"content-length", b"+1")), f.PROTOCOL_ERROR),
    "a length without end": (malformed(*PSEUDO, (b"content-length", b"1" * 100)), f.PROTOCOL_ERROR),
    "two lengths": (malformed(*PSEUDO, (b"content-length", b"1"), (b"content-length", b"2")), f.PROTOCOL_ERROR),
    "a length without a body": (whole(1, literal(*PSEUDO, (b"content-length", b"1"))), f.PROTOCOL_ERROR),
    "a body shorter than said": (SAID + data(1, b"a") + data(1, b"b", end=True), f.PROTOCOL_ERROR),
    "a body shorter than said, before trailers": (SAID + data(1, b"ab") + whole(1, TRAILERS), f.PROTOCOL_ERROR),
    "a body longer than said": (SAID + data(1, b"ab") + data(1, b"cd"), f.PROTOCOL_ERROR),
    "headers in the middle": (headers() + headers(1, TRAILERS), f.PROTOCOL_ERROR),
    "trailers with a path": (headers() + whole(), f.PROTOCOL_ERROR),
    "trailers with a name in capitals": (headers() + whole(1, literal((b"A", b"1"))), f.PROTOCOL_ERROR),
    "trailers after the end": (whole(1, header_block(*ASK[:2], (":path", "/wait"))) + whole(1, TRAILERS), 5),
    "data after the end": (whole(1, header_block(*ASK[:2], (":path", "/wait"))) + data(1, b"a"), f.STREAM_CLOSED),
    "data after the answer": (whole() + data(1, b"a"), f.STREAM_CLOSED),
    "data after its RST_STREAM": (headers() + rst_stream(1, f.CANCEL) + data(1, b"a"), f.STREAM_CLOSED),
    "a priority of 4 bytes": (headers() + raw(f.PRIORITY, bytes(4), stream=1), f.FRAME_SIZE_ERROR),
    "WINDOW_UPDATE of 0": (headers() + window_update(1, 0), f.PROTOCOL_ERROR),
    "WINDOW_UPDATE over the top": (headers() + window_update(1, f.MAX_WINDOW), f.FLOW_CONTROL_ERROR),
}


@pytest.mark.parametrize(("sent", "code"), BREAKS_A_STREAM.values(), ids=BREAKS_A_STREAM)
def test_what_breaks_a_stream_resets_it_and_the_others_go_on(sent: bytes, code: int) -> None:
    served = Served()
    assert served.send(sent)[-1] == Frame(f.RST_STREAM, 1, 0, code.to_bytes(4, "big"))
    assert all(echo.cancelled or echo.ends for echo in served.requests)
    assert [each.kind for each in served.send(whole(3))] == [f.HEADERS, f.HEADERS]
    assert not served.wire.closed


@pytest.mark.parametrize(
    "sent",
    [
        raw(f.PING, b"12345678", flags=f.ACK),
        raw(99, b"anything", flags=255, stream=77),
        raw(f.PRIORITY, bytes(5), stream=7),
        raw(f.GOAWAY, bytes(8) + b"bye"),
        whole() + window_update(1, 1) + rst_stream(1, f.CANCEL) + rst_stream(1, f.CANCEL),
        headers() + rst_stream(1, f.CANCEL) + window_update(1, 1),
    ],
    ids=["an answer to a ping", "unknown frames", "a priority", "a farewell", "late frames", "a late window"],
)
def test_what_needs_no_answer_has_none(sent: bytes) -> None:
    served = Served()
    assert [each for each in served.send(sent) if each.kind != f.HEADERS] == []
    assert not served.wire.closed


def test_settings_and_pings_are_acknowledged() -> None:
    assert Served().send(setting(99, 1), raw(f.PING, b"12345678")) == [
        Frame(f.SETTINGS, 0, f.ACK, b""),
        Frame(f.PING, 0, f.ACK, b"12345678"),
    ]


def test_a_request_is_what_its_frames_say_and_its_answer_is_one_write() -> None:
    padded = raw(f.DATA, b"\x03cd\0\0\0", flags=f.PADDED | f.END_STREAM, stream=1)
    begin = headers(1, b"\x02" + bytes(5) + REQUEST[:4] + b"\0\0", flags=f.PADDED | f.PRIORITISED)
    served = Served()
    served.send(begin + raw(f.CONTINUATION, REQUEST[4:], flags=f.END_HEADERS, stream=1) + data(1, b"ab"))
    served.connection.data_received(padded)
    assert len(served.wire.written) == 1
    assert [(each.kind, each.payload) for each in served.received()] == [
        (f.HEADERS, OK),
        (f.DATA, b"abcd"),
        (f.HEADERS, ENDED),
    ]
    assert served.requests[0].request == Request("/call", frozenset({("te", "trailers")}))


def test_a_body_is_as_long_as_its_client_has_said_whatever_its_padding() -> None:
    padded = raw(f.DATA, b"\x03b\0\0\0", flags=f.PADDED, stream=1)
    answers = Served().send(SAID + data(1, b"a") + padded + data(1, b"c", end=True))
    assert [each.payload for each in answers] == [OK, b"abc", ENDED]


def test_trailers_end_a_request() -> None:
    served = Served()
    assert [each.payload for each in served.send(headers() + data(1, b"a") + whole(1, TRAILERS))] == [OK, b"a", ENDED]


def test_what_comes_after_an_early_answer_is_dropped_until_its_end() -> None:
    served = Served()
    served.send(headers())
    served.requests[0].stream.send(OK, b"", ENDED)
    served.received()
    assert served.send(data(1, b"late") + data(1, b"", end=True)) == []
    assert served.requests[0].body == b""
    assert [each.kind for each in served.send(data(1, b"too late"))] == [f.RST_STREAM]


def test_more_calls_than_we_allow_are_refused_until_one_ends() -> None:
    served = Served()
    numbers = range(1, 2 * MAX_STREAMS, 2)
    assert served.send(b"".join(headers(number) for number in numbers)) == []
    more = 2 * MAX_STREAMS + 1
    assert served.send(headers(more)) == [Frame(f.RST_STREAM, more, 0, f.REFUSED_STREAM.to_bytes(4, "big"))]
    served.send(rst_stream(1, f.CANCEL))
    assert served.send(headers(more + 2)) == []


def test_answers_that_wait_for_a_window_count_as_calls() -> None:
    served = Served(BEGIN + setting(f.INITIAL_WINDOW_SIZE, 0))
    for number in range(1, 2 * MAX_STREAMS, 2):
        served.send(headers(number) + data(number, b"a", end=True))
    assert served.connection.busy
    assert [each.kind for each in served.send(headers(2 * MAX_STREAMS + 1))] == [f.RST_STREAM]
    assert len(served.send(setting(f.INITIAL_WINDOW_SIZE, 1))) == 2 * MAX_STREAMS + 1
    assert not served.connection.busy


def test_blocks_of_a_table_mean_what_their_encoder_meant() -> None:
    encoder, served = Encoder(), Served()
    paths = ("/a", "/b", "/a", "/a", "/b", "/a", "/b", "/b", "/a")
    for number, path in enumerate(paths):
        if number == 5:
            encoder.header_table_size = 0
            served.send(ACKED)
        served.send(headers(1 + 2 * number, encoder.encode([*ASK[:2], (":path", path), ("x", path)])))
    assert [each.request for each in served.requests] == [Request(path, frozenset({("x", path)})) for path in paths]


def test_the_same_block_means_something_else_once_the_table_has_changed() -> None:
    first = REQUEST[:1] + b"\x3f\xe1\x1f" + literal(*PSEUDO) + b"\x40\x01x\x01"
    again = literal(*PSEUDO) + b"\xbe"
    served = Served()
    # A block that leaves an empty table behind, before and after one that fills it: it must empty it each time.
    served.send(headers(1, REQUEST), headers(3, first + b"1"), headers(5, again))
    served.send(headers(7, first + b"2"), headers(9, again), headers(11, REQUEST))
    seen = [dict(each.request.metadata).get("x") for each in served.requests]
    assert seen == [None, "1", "1", "2", "2", None]
    assert int.from_bytes(served.send(headers(13, again))[-1].payload[4:8], "big") == f.COMPRESSION_ERROR


def test_a_block_without_a_table_is_decoded_once_and_others_do_not_fill_the_memory() -> None:
    served = Served(BEGIN + ACKED)
    for number in range(1, 6001, 2):
        served.send(headers(number, header_block(*ASK, ("x", str(number)))) + rst_stream(number, f.CANCEL))
    served.send(headers(6001, REQUEST), headers(6003, REQUEST))
    assert served.requests[-1].request is served.requests[-2].request
    assert len(served.connection._decoder._cache) <= h2_requests._MAX_CACHED


def test_more_than_a_streams_window_is_refused() -> None:
    served = Served(BEGIN + headers())
    served.requests[0].data = lambda _: None  # type: ignore[method-assign, assignment]
    full = data(1, bytes(f.MAX_RECEIVED_BYTES))
    for _ in range((MAX_BODY_BYTES + REPLENISH_BYTES) // f.MAX_RECEIVED_BYTES):
        served.connection.data_received(full)
    assert {(each.kind, each.stream) for each in served.received()} == {(f.WINDOW_UPDATE, 0)}
    assert served.send(data(1, b"a"))[-1] == Frame(f.RST_STREAM, 1, 0, f.FLOW_CONTROL_ERROR.to_bytes(4, "big"))


def test_no_more_is_on_its_way_to_us_than_the_window_of_the_connection() -> None:
    served = Served(b"")
    served.connection.connection_made(served.wire)
    allowed = f.DEFAULT_WINDOW + sum(_widened(each) for each in served.received())
    assert allowed == WINDOW_BYTES
    served.send(BEGIN, headers())
    served.requests[0].data = lambda _: None  # type: ignore[method-assign, assignment]
    for _ in range(MAX_BODY_BYTES // f.MAX_RECEIVED_BYTES):
        allowed += sum(_widened(each) for each in served.send(data(1, bytes(f.MAX_RECEIVED_BYTES))))
        allowed -= f.MAX_RECEIVED_BYTES
        assert WINDOW_BYTES - REPLENISH_BYTES < allowed <= WINDOW_BYTES


def _widened(each: Frame) -> int:
    """By how much a frame of ours widens the window of the connection."""
    return int.from_bytes(each.payload, "big") if (each.kind, each.stream) == (f.WINDOW_UPDATE, 0) else 0


def test_an_answer_goes_out_as_the_windows_open_and_small_ones_pass_a_large_one() -> None:
    served = Served(BEGIN + window_update(0, 1 << 20))
    large = bytes(range(256)) * 1024
    sent = b"".join(data(1, large[at : at + 65536]) for at in range(0, len(large), 65536))
    received = served.send(headers() + sent + data(1, end=True))
    assert [len(each.payload) for each in received if each.kind == f.DATA] == [16384, 16384, 16384, 16383]
    assert [each.stream for each in served.send(whole(3))] == [3, 3]
    assert [len(each.payload) for each in served.send(window_update(1, 5))] == [5]
    assert served.send(setting(f.INITIAL_WINDOW_SIZE, 10)) == [Frame(f.SETTINGS, 0, f.ACK, b"")]
    assert served.send(window_update(1, f.DEFAULT_WINDOW - 10)) == []
    received += served.send(window_update(1, len(large)))
    assert received[-1] == Frame(f.HEADERS, 1, f.END_HEADERS | f.END_STREAM, ENDED)


@pytest.mark.parametrize("end", [rst_stream(1, f.CANCEL), window_update(1, 0)], ids=["by the client", "by us"])
def test_of_a_stream_that_is_reset_nothing_more_goes_out(end: bytes) -> None:
    served = Served(BEGIN + setting(f.INITIAL_WINDOW_SIZE, 0))
    served.send(headers() + data(1, b"a", end=True) + headers(3) + data(3, b"b", end=True), end)
    sent = served.send(setting(f.INITIAL_WINDOW_SIZE, 100))
    assert {each.stream for each in sent if each.kind == f.DATA} == {3}


def test_a_client_that_opens_no_window_is_disconnected() -> None:
    served = Served(BEGIN + setting(f.INITIAL_WINDOW_SIZE, 0))
    body = bytes(h2_sending.MOST_UNSENT_BYTES // 4)
    for number in (1, 3, 5, 7):
        served.send(headers(number))
        served.requests[-1].stream.send(OK, body, ENDED)
    assert not served.wire.aborted
    served.send(headers(9) + data(9, b"a", end=True))
    assert served.wire.aborted


def test_a_client_that_reads_nothing_is_disconnected() -> None:
    served = Served()
    served.connection.pause_writing()
    assert served.wire.aborted


def test_who_hangs_up_cancels_its_calls() -> None:
    served = Served(BEGIN + headers())
    served.connection.connection_lost(None)
    assert served.requests[0].cancelled
    served.requests[0].stream.send(OK, b"late", ENDED)
    served.requests[0].stream.ask_for_more()
    assert served.wire.written == []


def test_a_farewell_takes_what_was_on_its_way_and_says_at_the_end_how_far_we_came() -> None:
    served = Served(BEGIN + whole())
    served.connection.drain()
    assert [each.kind for each in served.send(whole(3))] == [f.GOAWAY, f.HEADERS, f.HEADERS]
    served.connection.close()
    assert served.received() == [Frame(f.GOAWAY, 0, 0, (3).to_bytes(4, "big") + bytes(4))]
    assert served.wire.closed


@pytest.mark.parametrize("table", [0, 100, 4096])
def test_another_client_understands_us_whatever_table_it_has(table: int) -> None:
    client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    client.local_settings = Settings(client=True, initial_values={SettingCodes(f.HEADER_TABLE_SIZE): table})
    client.initiate_connection()
    served = Served(client.data_to_send())
    body, ended = b"", set()
    for stream in (1, 3, 5):
        client.send_headers(stream, ASK)
        client.send_data(stream, b"a" * 10_000, end_stream=True)
        while sent := client.data_to_send():
            served.connection.data_received(sent)
            for event in client.receive_data(b"".join(served.wire.written)):
                body += event.data if isinstance(event, h2.events.DataReceived) else b""
                ended |= {event.stream_id} if isinstance(event, h2.events.StreamEnded) else set()
            served.wire.written.clear()
    assert body == b"a" * 30_000
    assert ended == {1, 3, 5}


STORY = (
    BEGIN
    + ACKED
    + headers()
    + data(1, b"abc" * 100)
    + raw(f.PING, b"12345678")
    + headers(3, REQUEST[:7], flags=0)
    + raw(f.CONTINUATION, REQUEST[7:], flags=f.END_HEADERS, stream=3)
    + data(1, b"", end=True)
    + data(3, b"d" * 50)
    + rst_stream(3, f.CANCEL)
    + whole(5)
    + setting(f.INITIAL_WINDOW_SIZE, 5)
    + headers(7)
    + data(7, b"0123456789", end=True)
    + window_update(7, 100)
    + whole(9, literal((b"A", b"1")))
)


@given(cuts=st.lists(st.integers(0, len(STORY)), max_size=40))
def test_answers_do_not_depend_on_how_the_bytes_are_cut(cuts: list[int]) -> None:
    served = Served(b"")
    sent = [STORY[begin:end] for begin, end in pairwise(sorted({0, len(STORY), *cuts}))]
    answers = served.send(*sent)
    assert answers == Served(b"").send(STORY)
    assert b"".join(each.payload for each in answers if each.kind == f.DATA) == b"abc" * 100 + b"0123456789"


KINDS = st.integers(0, 12)
NUMBERS = st.sampled_from([0, 1, 2, 3, 5, 7, f.MAX_WINDOW])
PAYLOADS = st.one_of(st.binary(max_size=40), st.sampled_from([REQUEST, TRAILERS, bytes(4), bytes(5), bytes(8)]))
FRAMES = st.builds(frame, KINDS, st.integers(0, 255), NUMBERS, PAYLOADS)


@given(sent=st.one_of(st.binary(max_size=300), st.lists(FRAMES, max_size=30).map(b"".join)))
def test_any_bytes_leave_a_connection_or_a_reason_why_it_ended(sent: bytes) -> None:
    served = Served()
    kinds = [each.kind for each in served.send(sent)]
    assert (f.GOAWAY in kinds) == served.wire.closed
    if not served.wire.closed:
        assert all(
            echo.cancelled or echo.ends or echo.stream.number in served.connection._streams for echo in served.requests
        )
