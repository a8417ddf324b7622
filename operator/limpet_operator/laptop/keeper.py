"""Keeps the local gateway's ext_proc running: starts it again when it ends, and ends it when it hangs.

While it is away Envoy answers by itself, so nothing else has to stop for it.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import Final

import msgspec

from limpet_extproc.contract.worker_status import (
    CHECK_EVERY_S,
    CHECKS,
    CHECKS_AT_START,
    WorkerReport,
    next_pause_s,
    stalled,
)
from limpet_operator.laptop.children import ChildDied, Children

_ASK_S: Final = 1.0


async def keep(
    children: Children,
    name: str,
    start: Callable[[], Awaitable[None]],
    report: Callable[[], Awaitable[WorkerReport | None]],
    say: Callable[[str], None],
    meanwhile: str,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    clock: Callable[[], float] = monotonic,
) -> None:
    """Never return; raise ChildDied when another child than `name` ends, and OSError when `name` cannot be started.

    `name` is assumed to be healthy at first. `report` asks for its state: None when it does not answer in time.
    `meanwhile`: what becomes of requests while it is away, for people.
    """
    pause_s, checks = 0.0, CHECKS
    while True:
        began_s = clock()
        checking = asyncio.create_task(_kill_when_hung(children, name, report, say, checks, sleep))
        try:
            await children.watch()
        except ChildDied as died:
            if died.name != name:
                raise
            pause_s = next_pause_s(pause_s, clock() - began_s)
            say(f"{died}\n{name} is started again in {pause_s:.1f} s; until it decides, {meanwhile}")
        finally:
            checking.cancel()
        checks = CHECKS_AT_START
        await sleep(pause_s)
        await start()


async def _kill_when_hung(
    children: Children,
    name: str,
    report: Callable[[], Awaitable[WorkerReport | None]],
    say: Callable[[str], None],
    bound: int,
    sleep: Callable[[float], Awaitable[object]],
) -> None:
    failed = 0
    while failed < bound:
        await sleep(CHECK_EVERY_S)
        if stalled(await report()):
            failed += 1
        else:
            failed, bound = 0, CHECKS
    say(f"{name} hangs and is killed")
    children.kill(name)


async def ask_worker(socket_path: Path) -> WorkerReport | None:
    """What a worker reports on its status socket; None if it does not answer in time, for any reason."""
    answer = await ask(socket_path, "/status")
    try:
        return None if answer is None else msgspec.json.decode(answer, type=WorkerReport)
    except msgspec.DecodeError:
        return None


async def ask(socket_path: Path, page: str) -> bytes | None:
    """A page on a child's Unix socket; None if it does not come in time, for any reason."""
    try:
        async with asyncio.timeout(_ASK_S):
            reader, writer = await asyncio.open_unix_connection(socket_path)
            try:
                writer.write(f"GET {page} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n".encode())
                head, _, body = (await reader.read()).partition(b"\r\n\r\n")
            finally:
                writer.close()
    except (OSError, TimeoutError):
        return None
    return body if b" 200 " in head.split(b"\r\n", 1)[0] else None
