"""`python -m limpet_lab.bench.faults.relay PORT SERVER_PORT`: a relay before a server on loopback, which can be slow.

It is a process of its own, since whatever else its loop did would make the server late. SIGUSR1 makes every answer
late, SIGUSR2 ends that.
"""

import asyncio
import signal
import sys
from contextlib import suppress
from typing import Final

LATE_S: Final = 0.05

_CHUNK_BYTES: Final = 65536


class Relay:
    """Passes bytes both ways."""

    def __init__(self, server_port: int) -> None:
        self.late_s = 0.0
        """By so much every answer is late."""
        self._server_port = server_port

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        try:
            with suppress(OSError):
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._server_port)
                try:
                    await self._both_ways((reader, to_server), (from_server, writer))
                finally:
                    to_server.close()
        finally:
            writer.close()

    async def _both_ways(
        self,
        asks: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        answers: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        """Return when either side has ended."""
        ways = [
            asyncio.create_task(self._copy(*asks, slow=False)),
            asyncio.create_task(self._copy(*answers, slow=True)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        while data := await reader.read(_CHUNK_BYTES):
            if slow and self.late_s:
                # Not by waiting here, which would hold up the answers behind this one as well.
                asyncio.get_running_loop().call_later(self.late_s, writer.write, data)
            else:
                writer.write(data)


async def serve(port: int, server_port: int) -> None:
    """Relay until the process ends."""
    relay, loop = Relay(server_port), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, setattr, relay, "late_s", LATE_S)
    loop.add_signal_handler(signal.SIGUSR2, setattr, relay, "late_s", 0.0)
    server = await asyncio.start_server(relay.accept, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*map(int, sys.argv[1:])))
