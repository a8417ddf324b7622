"""Calls of a real gRPC client over a Unix socket, at either server."""

import asyncio
import gc
import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from tests.extproc.envoy.h2_wire import BEGIN, REQUEST, Alarms, Wire
from tests.waiting import until

from limpet_extproc.envoy.calls import CallMessages, CallServer, Find, Streaming, Unary
from limpet_extproc.envoy.grpc_server import Call, Server, UnaryCall, Unfinished
from limpet_extproc.envoy.grpcio_server import GrpcioServer
from limpet_extproc.envoy.h2_connection import Connection
from limpet_extproc.envoy.h2_frames import DATA, END_HEADERS, HEADERS, Request, frame
from limpet_extproc.envoy.h2_stream import H2Stream
from limpet_extproc.envoy.unix_connections import SYSTEM_TABLE, connections
from limpet_extproc.process.translation import translator_listener

_EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]

PATIENCE_S = 60.0
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))

MAX_MESSAGE_BYTES = 40 << 20

Message = bytes | memoryview
Make = Callable[[Find, int], CallServer]


@pytest.fixture(params=[Server, GrpcioServer], ids=["own", "grpcio"])
def make(request: pytest.FixtureRequest) -> Make:
    """The servers that a worker can be told to use."""
    made: Make = request.param
    return made


class Calls:
    """What is served: some calls that end by themselves, and one that never does."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()
        self.go_on = asyncio.Event()

    async def echo(self, message: Message) -> bytes:
        return bytes(message)

    async def later(self, message: Message) -> bytes:
        self.begun.set()
        await self.go_on.wait()
        return bytes(message)

    async def wait(self, _: Message) -> bytes:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return b""

    async def broken(self, _: Message) -> bytes:
        raise ValueError("a mistake of ours")

    async def given_up(self, _: Message) -> bytes:
        inner = asyncio.get_running_loop().create_future()
        inner.cancel()
        await inner
        return b""

    async def count(self, call: CallMessages) -> bytes:
        total = 0
        while (message := await call.read()) is not None:
            total += len(message)
        return str(total).encode()

    async def twice(self, call: CallMessages) -> None:
        while (message := await call.read()) is not None:
            await call.write(message)
            await call.write(message)

    async def broken_late(self, call: CallMessages) -> bytes:
        await call.write(await call.read() or b"")
        raise ValueError("a mistake of ours")


class Client:
    """A gRPC client of the calls."""

    def __init__(self, channel: Any, calls: Calls) -> None:
        self.calls = calls
        self.channel = channel

    def unary(self, name: str, message: bytes = b"", **how: Any) -> Any:
        return self.channel.unary_unary(f"/test/{name}")(message, timeout=PATIENCE_S, wait_for_ready=True, **how)

    def stream(self, name: str) -> Any:
        return self.channel.stream_stream(f"/test/{name}")(timeout=PATIENCE_S, wait_for_ready=True)


@asynccontextmanager
async def serving(make: Make, socket: Path, *options: tuple[str, Any]) -> AsyncIterator[tuple[Client, CallServer]]:
    calls = Calls()
    unary = (calls.echo, calls.later, calls.wait, calls.broken, calls.given_up)
    known: dict[str, Unary | Streaming] = {f"/test/{each.__name__}": Unary(each) for each in unary}
    known |= {f"/test/{each.__name__}": Streaming(each) for each in (calls.count, calls.twice, calls.broken_late)}
    server = make(lambda request: known.get(request.path), MAX_MESSAGE_BYTES)
    await server.start(socket)
    async with grpc.aio.insecure_channel(f"unix:{socket}", options=(*OPTIONS, *options)) as channel:
        yield Client(channel, calls), server
    await server.stop(0)


@pytest.fixture
async def client(make: Make, tmp_path: Path) -> AsyncIterator[Client]:
    async with serving(make, tmp_path / "s") as (client, _):
        yield client


async def status(call: Awaitable[Any]) -> grpc.StatusCode:
    with pytest.raises(grpc.aio.AioRpcError) as error:
        await call
    return error.value.code()


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 100_000, 30_000_000])
async def test_a_message_comes_back_whatever_its_size(client: Client, size: int) -> None:
    message = bytes(range(251)) * (size // 251 + 1)
    assert await client.unary("echo", message[:size]) == message[:size]


async def test_many_calls_at_once_do_not_mix(client: Client) -> None:
    data = [str(number).encode() * (number % 50) for number in range(2_000)]
    assert await asyncio.gather(*(client.unary("echo", each) for each in data)) == data


async def test_a_stream_takes_more_than_any_window(client: Client) -> None:
    call = client.stream("count")
    for _ in range(200):
        await call.write(bytes(1_000_000))
    await call.done_writing()
    assert await call.read() == b"200000000"
    assert await call.code() == grpc.StatusCode.OK


async def test_a_stream_takes_the_largest_message_after_a_small_one(client: Client) -> None:
    call = client.stream("count")
    await call.write(bytes(500_000))
    await call.write(bytes(MAX_MESSAGE_BYTES))
    await call.done_writing()
    assert await call.read() == str(500_000 + MAX_MESSAGE_BYTES).encode()


async def test_messages_go_both_ways_in_turn(client: Client) -> None:
    call = client.stream("twice")
    for message in (b"a", b"", b"c" * 200_000):
        await call.write(message)
        assert [await call.read(), await call.read()] == [message, message]
    await call.done_writing()
    assert await call.read() is _EOF


async def test_many_small_messages_that_come_at_once_are_read_in_order(client: Client) -> None:
    call = client.stream("twice")
    for number in range(1_000):
        await call.write(str(number).encode())
    await call.done_writing()
    assert [each async for each in call] == [str(number // 2).encode() for number in range(2_000)]


async def test_a_mistake_of_ours_ends_its_call_alone(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    beside = client.unary("later", b"beside")
    assert await status(client.unary("broken")) == grpc.StatusCode.UNKNOWN
    assert "a mistake of ours" in caplog.text
    client.calls.go_on.set()
    assert await beside == b"beside"


async def test_an_error_after_the_first_answer_is_sent_too(client: Client) -> None:
    call = client.stream("broken_late")
    await call.write(b"a")
    assert await call.read() == b"a"
    assert await call.code() == grpc.StatusCode.UNKNOWN


async def test_a_handler_that_gives_up_leaves_no_client_waiting(client: Client) -> None:
    call = client.unary("given_up")
    with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
        await call
    assert await call.code() == grpc.StatusCode.CANCELLED


async def test_an_unknown_call_is_unimplemented(client: Client) -> None:
    assert await status(client.unary("nobody", bytes(1_000_000))) == grpc.StatusCode.UNIMPLEMENTED
    assert await client.unary("echo", b"a") == b"a"


async def test_a_handler_is_found_by_the_path_and_the_metadata_of_the_call(make: Make, tmp_path: Path) -> None:
    """An Envoy that is not ours says by metadata what its clusters are called, and ours that it sends one message."""
    asked: list[Request] = []
    calls = Calls()

    def find(request: Request) -> Unary:
        asked.append(request)
        return Unary(calls.echo)

    server = make(find, MAX_MESSAGE_BYTES)
    await server.start(tmp_path / "s")
    told = (("x-limpet-names", "outbound|80||{name}.{namespace}.example"), ("x-limpet-one", "1"), ("x-limpet-one", "2"))
    async with grpc.aio.insecure_channel(f"unix:{tmp_path}/s") as channel:
        client = Client(channel, calls)
        assert await client.unary("any%20thing", b"a", metadata=told) == b"a"
        assert await client.unary("else", metadata=(("x-limpet-bin", b"\x00"),)) == b""
    await server.stop(0)
    assert [request.path for request in asked] == ["/test/any%20thing", "/test/else"]
    assert {each for each in asked[0].metadata if each[0].startswith("x-limpet")} == set(told)


async def test_who_cancels_a_call_ends_its_task(client: Client) -> None:
    call = client.unary("wait")
    await client.calls.begun.wait()
    call.cancel()
    await asyncio.wait_for(client.calls.cancelled.wait(), PATIENCE_S)
    assert await client.unary("echo", b"a") == b"a"


async def test_who_hangs_up_ends_its_tasks(client: Client) -> None:
    call = client.unary("wait")
    await client.calls.begun.wait()
    await client.channel.close()
    await asyncio.wait_for(client.calls.cancelled.wait(), PATIENCE_S)
    assert call.cancelled()


async def test_a_compressed_message_is_refused(client: Client) -> None:
    call = client.unary("echo", bytes(10_000), compression=grpc.Compression.Gzip)
    assert await status(call) == grpc.StatusCode.UNIMPLEMENTED


async def test_a_message_too_large_is_refused(client: Client) -> None:
    call = client.unary("echo", bytes(MAX_MESSAGE_BYTES + 1))
    assert await status(call) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await client.unary("echo", b"a") == b"a"


async def test_an_answer_larger_than_the_clients_window_arrives(make: Make, tmp_path: Path) -> None:
    options = (("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_535))
    async with serving(make, tmp_path / "s", *options) as (client, _):
        assert await client.unary("echo", b"a" * 3_000_000) == b"a" * 3_000_000


async def test_calls_under_way_have_a_grace_to_end(make: Make, tmp_path: Path) -> None:
    async with serving(make, tmp_path / "s") as (client, server):
        call = client.unary("later", b"a")
        await client.calls.begun.wait()
        stopping = asyncio.create_task(server.stop(0.2))
        await asyncio.sleep(0)
        client.calls.go_on.set()
        assert await call == b"a"
        await stopping


async def test_after_the_grace_calls_are_cancelled_without_a_word(
    make: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Envoy's log streams never end, so it is so whenever a worker stops."""
    caplog.set_level(logging.INFO)
    async with serving(make, tmp_path / "s") as (client, server):
        stream = client.stream("twice")
        await stream.write(b"a")
        assert [await stream.read(), await stream.read()] == [b"a", b"a"]
        call = client.unary("wait")
        await client.calls.begun.wait()
        await server.stop(0.05)
        assert await status(call) == await stream.code() == grpc.StatusCode.UNAVAILABLE
        await asyncio.wait_for(client.calls.cancelled.wait(), PATIENCE_S)
    assert caplog.text == ""


async def test_without_calls_there_is_no_grace(make: Make, tmp_path: Path) -> None:
    async with serving(make, tmp_path / "s") as (client, server):
        assert await client.unary("echo", b"a") == b"a"
        await asyncio.wait_for(server.stop(1_000), PATIENCE_S)


@pytest.mark.parametrize("make", [Server, partial(GrpcioServer, look_every_s=0.01)], ids=["own", "grpcio"])
async def test_it_is_known_when_nobody_is_connected_any_more(make: Callable[..., CallServer], tmp_path: Path) -> None:
    alone = asyncio.Event()
    server = make(lambda _: None, on_alone=alone.set)
    await server.start(tmp_path / "s")
    (_, first), (_, second) = [await asyncio.open_unix_connection(tmp_path / "s") for _ in range(2)]
    await until(lambda: len(connections(tmp_path / "s", SYSTEM_TABLE.read_text())) == 2)
    await asyncio.sleep(0.1)  # for a look
    await _closed(first)
    assert not alone.is_set()
    await _closed(second)
    await asyncio.wait_for(alone.wait(), PATIENCE_S)
    await server.stop(0)


async def test_calls_come_from_a_socket_that_somebody_else_has_opened(make: Make, tmp_path: Path) -> None:
    path, calls = tmp_path / "s", Calls()
    with translator_listener(path) as listening:
        async with grpc.aio.insecure_channel(f"unix:{path}", options=OPTIONS) as channel:
            client = Client(channel, calls)
            early = client.unary("later", b"a" * 3_000_000)
            server = make(lambda _: Unary(calls.later), MAX_MESSAGE_BYTES)
            await server.start_on(listening)
            calls.go_on.set()
            assert await early == b"a" * 3_000_000
            calls.go_on.clear()
            calls.begun.clear()
            late = client.unary("later", b"b")
            await calls.begun.wait()
            stopping = asyncio.create_task(server.stop(0.5))
            await asyncio.sleep(0)
            calls.go_on.set()
            assert await late == b"b"
            await stopping


async def _closed(writer: asyncio.StreamWriter) -> None:
    """Hang up, and let the server see it."""
    writer.close()
    await writer.wait_closed()
    await asyncio.sleep(0.05)


class FakeStream:
    """A call's stream without a connection."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, bytes, bytes | None]] = []

    def send(self, head: bytes, data: bytes, trailers: bytes | None) -> None:
        self.sent.append((head, data, trailers))

    def ask_for_more(self) -> None:
        pass


MESSAGE = b"\0\0\0\0\x03abc"


@pytest.mark.parametrize(
    ("data", "streaming", "expected"),
    [
        (b"", False, b"before its message"),
        (MESSAGE[:3], False, b"before its message"),
        (MESSAGE[:-1], False, b"before its message"),
        (b"", True, b"grpc-status\x010"),
        (MESSAGE[:3], True, b"within a message"),
        (MESSAGE[:-1], True, b"within a message"),
    ],
)
async def test_a_call_that_ends_within_its_message_is_an_error(data: bytes, streaming: bool, expected: bytes) -> None:
    stream: Any = FakeStream()
    calls = Calls()
    call: Call | UnaryCall
    if streaming:
        call = Call(Streaming(calls.twice), stream, MAX_MESSAGE_BYTES, Unfinished())
    else:
        call = UnaryCall(Unary(calls.echo), stream, MAX_MESSAGE_BYTES, Unfinished())
    call.data(memoryview(data))
    call.end()
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    trailers = stream.sent[0][2]
    assert expected in trailers


async def test_a_call_that_is_cancelled_before_it_has_begun_warns_of_nothing(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    stream: Any = FakeStream()
    call = UnaryCall(Unary(Calls().wait), stream, MAX_MESSAGE_BYTES, Unfinished())
    call.data(memoryview(MESSAGE))
    call.cancel()
    for _ in range(3):
        await asyncio.sleep(0)
    gc.collect()
    assert caplog.text == ""


@pytest.mark.parametrize("how", [Unary, Streaming])
async def test_what_a_lost_connection_had_sent_is_not_kept(how: type[Unary] | type[Streaming]) -> None:
    async def never(_: object) -> bytes:
        raise AssertionError("no message has come whole")

    async def waits(call: CallMessages) -> bytes | None:
        return await call.read()

    found = Unary(never) if how is Unary else Streaming(waits)
    make_call = partial(UnaryCall, found) if isinstance(found, Unary) else partial(Call, found)
    unfinished = Unfinished()

    def begin(stream: H2Stream, _: Request) -> UnaryCall | Call:
        return make_call(stream, MAX_MESSAGE_BYTES, unfinished)

    connection = Connection(begin, set(), MAX_MESSAGE_BYTES, Alarms().later)
    connection.connection_made(Wire())
    part = b"\x00" + (1 << 20).to_bytes(4, "big") + bytes(10_000)
    connection.data_received(BEGIN + frame(HEADERS, END_HEADERS, 1, REQUEST))
    sent = frame(DATA, 0, 1, part)
    gc.disable()
    try:
        before = sys.getrefcount(sent)
        connection.data_received(sent)
        assert sys.getrefcount(sent) > before
        connection.connection_lost(None)
        assert sys.getrefcount(sent) == before
    finally:
        gc.enable()
