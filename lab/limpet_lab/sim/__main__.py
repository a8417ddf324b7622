"""One seller's process: its configuration comes as one line on stdin, readiness goes out as one line on stdout.

The parent holds the other end of stdin. When that end closes, however the parent ended, this process ends too.
"""

import asyncio
import os
import secrets
import signal
import ssl
import sys
import tempfile
import time

import msgspec
from aiohttp import web

from limpet_lab.sim.app import seller_app
from limpet_lab.sim.config import Certificate, SellerConfig
from limpet_lab.sim.control import add_control
from limpet_lab.sim.provider import SimulatedProvider, Times
from limpet_lab.sim.word import Failed, Ready


def main() -> int:
    """Serve one seller until SIGTERM or the end of stdin."""
    # Ctrl-C reaches the whole foreground group; the parent decides when its sellers end.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    config = msgspec.json.decode(sys.stdin.buffer.readline(), type=SellerConfig)
    return asyncio.run(serve(config))


async def serve(config: SellerConfig) -> int:
    """Listen, report it, and wait for the end of stdin or SIGTERM."""
    seller = SimulatedProvider(config, Times(time.monotonic, time.time), lambda: secrets.token_hex(12))
    app = seller_app(seller)
    add_control(app, seller)
    # Cancellation lets a hanging answer end when its client is gone; compressed bodies are kept as they arrived.
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, auto_decompress=False, shutdown_timeout=0.2)
    await runner.setup()
    host, port = config.address()
    tls = None if config.tls is None else _tls(config.tls)
    site = web.TCPSite(runner, host, port, reuse_address=True, backlog=1024, ssl_context=tls)
    try:
        await site.start()
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        _say(Failed(f"can't listen on {config.listen}: {reason}: free the port or set another `listen`"))
        await runner.cleanup()
        return 1
    bound: int = runner.addresses[0][1]
    _say(Ready(bound))
    await _end()
    await runner.cleanup()
    return 0


def _tls(certificate: Certificate) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    # The library reads certificates only from files; this one is gone when it has been read.
    with tempfile.NamedTemporaryFile("w", suffix=".pem") as file:
        file.write(certificate.key + certificate.chain)
        file.flush()
        context.load_cert_chain(file.name)
    return context


async def _end() -> None:
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)

    def heard() -> None:
        if not os.read(sys.stdin.fileno(), 4096):
            loop.remove_reader(sys.stdin.fileno())
            ended.set()

    loop.add_reader(sys.stdin.fileno(), heard)
    await ended.wait()


def _say(message: Ready | Failed) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(message) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
