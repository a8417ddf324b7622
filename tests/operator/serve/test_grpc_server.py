"""A server whose start is cancelled is no server: nobody could stop it."""

import asyncio
from pathlib import Path

import grpc
import pytest

from limpet_operator.serve.grpc_server import serve


@pytest.mark.parametrize("turns", range(4))
async def test_a_server_whose_start_is_cancelled_does_not_listen(turns: int, tmp_path: Path) -> None:
    socket = tmp_path / "s.sock"
    starting = asyncio.create_task(serve(f"unix:{socket}"))
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    (result,) = await asyncio.gather(starting, return_exceptions=True)
    if isinstance(result, grpc.aio.Server):  # it was too late
        await result.stop(None)
    else:
        assert isinstance(result, asyncio.CancelledError), result
    with pytest.raises(OSError):
        await asyncio.open_unix_connection(socket)
