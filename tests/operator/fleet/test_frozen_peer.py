"""A peer that freezes in the middle of a conversation is given up in seconds, whatever gRPC was waiting for."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, cast

import grpc
import pytest

from limpet_extproc.operator_link.operator_channel import open_channel
from limpet_operator.fleet.peers import dialer

_EOF: object = grpc.aio.EOF  # type: ignore[attr-defined]

pytestmark = pytest.mark.slow

_TALKS_WITHOUT_END = """
import asyncio, grpc
async def talk(_, context):
    while True:
        await context.write(b"x" * 200_000)
        await asyncio.sleep(0.003)
async def main():
    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handler = grpc.stream_stream_rpc_method_handler(talk)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("a", {"b": handler}),))
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)
    await server.start()
    await server.wait_for_termination()
asyncio.run(main())
"""


async def listen(call: Any) -> None:
    while await call.read() is not _EOF:
        pass


@pytest.mark.parametrize(
    "channel_to",
    [dialer("", None), lambda address: open_channel(address, None)],
    ids=["between replicas", "from a worker to its operator"],
)
async def test_silence_ends_the_stream(channel_to: Callable[[str], grpc.aio.Channel]) -> None:
    # A keepalive takes 15 + 5 s; without a limit of its own, a ping that is under way takes a minute and holds it up.
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _TALKS_WITHOUT_END, stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        port = int(await process.stdout.readline())
        async with channel_to(f"127.0.0.1:{port}") as channel, asyncio.timeout(40):
            call: Any = cast("Any", channel).stream_stream("/a/b")()
            for _ in range(150):
                await call.read()
            os.kill(process.pid, signal.SIGSTOP)
            with pytest.raises(grpc.aio.AioRpcError, match="timeout"):
                await listen(call)
    finally:
        process.kill()
        await process.wait()
