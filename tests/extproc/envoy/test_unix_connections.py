"""Who is connected to a Unix socket, by the system's own table, and bytes that are passed on from one to another."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.waiting import until

from limpet_extproc.envoy.unix_connections import SYSTEM_TABLE, UnixRelay, connections, watch_connections

SEVERAL = """\
Num       RefCount Protocol Flags    Type St Inode Path
0000000000000001: 00000002 00000000 00010000 0001 01    10 /run/a b.sock
0000000000000002: 00000003 00000000 00000000 0001 03    11 /run/a b.sock
0000000000000003: 00000003 00000000 00000000 0001 03    12 /run/a b.sock
0000000000000004: 00000003 00000000 00000000 0001 03     0 /run/a b.sock
0000000000000005: 00000003 00000000 00000000 0001 03    13 /run/other.sock
0000000000000006: 00000003 00000000 00000000 0001 03    14 @/run/a b.sock
0000000000000007: 00000003 00000000 00000000 0001 03    15
0000000000000008: 00000003 00000000 00000000 0001 03    16 /run/c /run/a b.sock
"""


def test_those_count_that_have_been_accepted_at_this_path() -> None:
    assert connections(Path("/run/a b.sock"), SEVERAL) == {"11", "12"}
    assert connections(Path("b.sock"), SEVERAL) == set()


async def test_the_systems_own_table_is_read(tmp_path: Path) -> None:
    path = tmp_path / "s"

    def there_are(number: int) -> Callable[[], bool]:
        return lambda: len(connections(path, SYSTEM_TABLE.read_text())) == number

    async def read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_unix_server(read, path):
        assert there_are(0)()
        writers = [(await asyncio.open_unix_connection(path))[1] for _ in range(3)]
        await until(there_are(3))
        for left, writer in zip((2, 1, 0), writers, strict=True):
            writer.close()
            await until(there_are(left))


@pytest.mark.parametrize(
    ("looks", "expected"),
    [
        ([set(), {"1"}, {"1"}, set()], 1),
        ([{"1", "2"}, {"2"}, {"2", "3"}, {"3"}], 0),
        ([{"1"}, {"2"}, {"2"}], 1),
        ([set(), set()], 0),
    ],
)
async def test_alone_is_who_has_lost_all_of_the_last_look(looks: list[set[str]], expected: int, tmp_path: Path) -> None:
    alone: list[None] = []
    table = tmp_path / "unix"
    head, line = SEVERAL.splitlines()[0], "0: 3 0 0 1 03 {} /s"

    async def sleep(seconds: float) -> None:
        assert seconds == 7.0
        if not looks:
            raise asyncio.CancelledError
        table.write_text("\n".join([head, *(line.format(inode) for inode in sorted(looks.pop(0)))]))

    with pytest.raises(asyncio.CancelledError):
        await watch_connections(Path("/s"), lambda: alone.append(None), table, 7.0, sleep)
    assert len(alone) == expected


async def test_without_a_table_nobody_is_ever_alone(tmp_path: Path) -> None:
    await watch_connections(Path("/s"), lambda: pytest.fail("alone"), tmp_path / "none", every_s=0.0)


@pytest.mark.parametrize("name", ["/s", "/s\udcff"])
async def test_names_of_sockets_may_be_any_bytes(name: str, tmp_path: Path) -> None:
    alone: list[None] = []
    table = tmp_path / "unix"
    others = b"0: 3 0 0 1 03 8 /\xff\xfe\n0: 3 0 0 1 03 9 @\x80 \xc3\n"
    looks = [others + os.fsencode(f"0: 3 0 0 1 03 1 {name}\n"), others]

    async def sleep(_seconds: float) -> None:
        if not looks:
            raise asyncio.CancelledError
        table.write_bytes(looks.pop(0))

    with pytest.raises(asyncio.CancelledError):
        await watch_connections(Path(name), lambda: alone.append(None), table, 7.0, sleep)
    assert len(alone) == 1


@asynccontextmanager
async def relayed(tmp_path: Path) -> AsyncIterator[tuple[UnixRelay, Path, list[asyncio.StreamWriter]]]:
    """A relay to a server that sends all back; the writers are the server's."""
    here, there = tmp_path / "here", tmp_path / "there"
    served: list[asyncio.StreamWriter] = []

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(writer)
        while data := await reader.read(1 << 20):
            writer.write(data)
            await writer.drain()
        writer.close()

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(here))
        listening.listen()
        listening.setblocking(False)
        relay = UnixRelay(there)
        async with await asyncio.start_unix_server(echo, there):
            await relay.start(listening)
            yield relay, here, served
            relay.close()
            for writer in served:
                writer.close()
            await relay.ended()


async def test_bytes_go_both_ways_whatever_their_number(tmp_path: Path) -> None:
    data = bytes(range(251)) * 20_000
    async with relayed(tmp_path) as (_, here, _):
        reader, writer = await asyncio.open_unix_connection(here)
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()


async def test_who_hangs_up_on_one_side_ends_the_other(tmp_path: Path) -> None:
    async with relayed(tmp_path) as (relay, here, served):
        _, writer = await asyncio.open_unix_connection(here)
        writer.write(b"a")
        await until(lambda: len(served) == 1)
        writer.close()
        await until(served[0].is_closing)

        reader, second = await asyncio.open_unix_connection(here)
        await until(lambda: len(served) == 2)
        served[1].write(b"last")
        served[1].close()
        assert await reader.read() == b"last"
        second.close()
        relay.close()
        await relay.ended()


async def test_where_nobody_is_behind_the_client_is_hung_up_on(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "here"))
        listening.listen()
        listening.setblocking(False)
        relay = UnixRelay(tmp_path / "nobody")
        await relay.start(listening)
        reader, writer = await asyncio.open_unix_connection(tmp_path / "here")
        assert await reader.read() == b""
        writer.close()
        relay.close()
        await relay.ended()
