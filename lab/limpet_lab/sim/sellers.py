"""The parent's side: starts one process per seller, talks to their control endpoints, ends them all.

async with Sellers.start([SellerConfig(...), ...]) as sellers:
    sellers["seller-a"].base_url
"""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Final, Self

import aiohttp
import msgspec

from limpet_lab.sim.config import Certificate, SellerConfig
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.ledger import LedgerReport
from limpet_lab.sim.record import Arrival
from limpet_lab.sim.word import Failed, Ready

START_TIMEOUT_S: Final = 20.0
_WORD = msgspec.json.Decoder(Ready | Failed)


class SellerFailedError(Exception):
    """A seller could not start, or refused a control request; the message names it."""


class Seller:
    """One running (or killed) seller process."""

    def __init__(self, config: SellerConfig, session: aiohttp.ClientSession) -> None:
        self.config = config
        self._session = session
        self._process: subprocess.Popen[bytes] | None = None
        self._port = config.address()[1]

    @property
    def name(self) -> str:
        """The seller's name."""
        return self.config.name

    @property
    def port(self) -> int:
        """The port it listens on, the same after a restart."""
        return self._port

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        scheme = "http" if self.config.tls is None else "https"
        return f"{scheme}://{self.config.address()[0]}:{self._port}"

    @property
    def base_url(self) -> str:
        """What an SDK takes as its base URL."""
        return self.origin + self.config.base

    @property
    def pid(self) -> int | None:
        """The process, None when there is none."""
        return self._process.pid if self._process else None

    @property
    def exit_code(self) -> int | None:
        """How the process ended; None while it runs, negative for a signal."""
        return self._process.poll() if self._process else None

    async def start(self) -> None:
        """Start the process and wait until it listens. Raises SellerFailedError."""
        host = self.config.address()[0]
        config = msgspec.structs.replace(self.config, listen=f"{host}:{self._port}")
        process = self._process = _spawn(config)
        assert process.stdout is not None
        try:
            line = await asyncio.wait_for(asyncio.to_thread(process.stdout.readline), START_TIMEOUT_S)
        except TimeoutError:
            self.kill()
            raise SellerFailedError(f"seller {self.name}: not ready after {START_TIMEOUT_S:g} s") from None
        except asyncio.CancelledError:
            self.kill()
            raise
        word = _WORD.decode(line) if line else Failed("the process ended while starting; its message is above")
        if isinstance(word, Failed):
            self.kill()
            raise SellerFailedError(f"seller {self.name}: {word.problem}")
        self._port = word.port

    def kill(self) -> None:
        """Kill the process with SIGKILL, as a machine dies; open connections break, memory is lost."""
        if self._process is not None:
            self._process.kill()
            _reap(self._process)

    def stop(self) -> None:
        """End the process by closing its stdin."""
        process = self._process
        if process is None or process.stdin is None:
            return
        process.stdin.close()
        try:
            process.wait(timeout=3)
        except subprocess.TimeoutExpired:
            process.kill()
        _reap(process)

    async def restart(self, certificate: Certificate | None = None) -> None:
        """Start again on the same port with empty cache and ledger, after killing what still runs.

        `certificate`: shown from now on in place of the one before.
        """
        self.kill()
        if certificate is not None:
            self.config = msgspec.structs.replace(self.config, tls=certificate)
        await self.start()

    async def ledger(self, rows: int = 2_000) -> LedgerReport:
        """Return totals, errors and the last rows."""
        return msgspec.json.decode(await self._call("GET", f"/_sim/ledger?rows={rows}"), type=LedgerReport)

    async def set_fault(self, fault: Fault) -> None:
        """Switch a fault on; `Fault()` switches it off."""
        await self._call("PUT", "/_sim/fault", msgspec.json.encode(fault))

    async def fault(self) -> Fault:
        """Return the fault in force."""
        return msgspec.json.decode(await self._call("GET", "/_sim/fault"), type=Fault)

    async def reset(
        self, *, ledger: bool = True, cache: bool = True, requests: bool = True, fault: bool = True
    ) -> None:
        """Start over with what is named."""
        wanted = {"ledger": ledger, "cache": cache, "requests": requests, "fault": fault}
        await self._call("POST", "/_sim/reset", msgspec.json.encode(wanted))

    async def requests(self) -> list[Arrival]:
        """Return the last raw requests; needs `record` in the seller's configuration."""
        return msgspec.json.decode(await self._call("GET", "/_sim/requests"), type=list[Arrival])

    async def _call(self, method: str, path: str, body: bytes | None = None) -> bytes:
        async with self._session.request(method, self.origin + path, data=body) as response:
            answer = await response.read()
        if response.status != 200:
            raise SellerFailedError(f"seller {self.name}: {method} {path}: {answer.decode(errors='replace')}")
        return answer


class Sellers:
    """All sellers of one run, by name."""

    def __init__(self, sellers: Sequence[Seller]) -> None:
        self._sellers = {seller.name: seller for seller in sellers}

    def __getitem__(self, name: str) -> Seller:
        return self._sellers[name]

    def __iter__(self) -> Iterator[Seller]:
        return iter(self._sellers.values())

    def __len__(self) -> int:
        return len(self._sellers)

    @classmethod
    @asynccontextmanager
    async def start(cls, configs: Sequence[SellerConfig]) -> AsyncIterator[Self]:
        """Start all at once; on leaving, end all. Raises SellerFailedError when one can't start."""
        # A kept connection would break when its seller is killed and fail the next control request. Certificates are
        # for those who buy: they may be expired, and these requests stay on loopback.
        connector = aiohttp.TCPConnector(force_close=True, ssl=False)
        async with aiohttp.ClientSession(connector=connector) as session:
            sellers = cls([Seller(config, session) for config in configs])
            try:
                started = await asyncio.gather(*(seller.start() for seller in sellers), return_exceptions=True)
                for problem in started:
                    if problem is not None:
                        raise problem
                yield sellers
            finally:
                await asyncio.gather(*(asyncio.to_thread(seller.stop) for seller in sellers))


def _spawn(config: SellerConfig) -> subprocess.Popen[bytes]:
    # The configuration holds keys, so it goes through the pipe: others can read a command line.
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "limpet_lab.sim"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdin is not None
    process.stdin.write(msgspec.json.encode(config) + b"\n")
    process.stdin.flush()
    return process


def _reap(process: subprocess.Popen[bytes]) -> None:
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()
