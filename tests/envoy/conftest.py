"""What the stories share: the sellers, one gateway in each routing mode, and a stage for each story."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from itertools import count

import pytest
import pytest_asyncio
from tests.envoy.cast import seller_configs
from tests.envoy.stage import Stage

from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser


@pytest.fixture(scope="session")
def parser() -> Parser:
    return Parser.load()


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sellers() -> AsyncIterator[Sellers]:
    async with Sellers.start(seller_configs()) as running:
        yield running


@asynccontextmanager
async def running_gateway(
    *, header_mode: bool, extproc: Sequence[str] | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[LocalGateway, int]]:
    """A gateway without any provider yet, and the port of its data plane's metrics.

    A caller that passes `extproc` waits for it.
    """
    metrics_port = free_port()
    settings = LocalSettings(
        host=host, port=free_port(), header_mode=header_mode, extproc_metrics_port=metrics_port, drain_s=0.5
    )
    async with LocalGateway(replace(settings, extproc_command=extproc) if extproc else settings) as gateway:
        gateway.apply(Plan())
        if extproc is None:
            await gateway.ready()
        yield gateway, metrics_port


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def by_metadata() -> AsyncIterator[tuple[LocalGateway, int]]:
    async with running_gateway(header_mode=False) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def by_header() -> AsyncIterator[tuple[LocalGateway, int]]:
    async with running_gateway(header_mode=True) as running:
        yield running


@asynccontextmanager
async def set_stage(
    number: int, sellers: Sellers, running: tuple[LocalGateway, int], parser: Parser
) -> AsyncIterator[Stage]:
    """Sellers without what the last story left, and a stage for the next one."""
    for seller in sellers:
        await seller.reset()
    async with Stage(number, sellers, running[0], parser, running[1]) as stage:
        yield stage


@pytest_asyncio.fixture(loop_scope="session")
async def number(numbers: Iterator[int], sellers: Sellers) -> int:
    """Of a stage over a gateway that the story runs; the sellers are without what the last story left."""
    for seller in sellers:
        await seller.reset()
    return next(numbers)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(
    numbers: Iterator[int], sellers: Sellers, by_metadata: tuple[LocalGateway, int], parser: Parser
) -> AsyncIterator[Stage]:
    async with set_stage(next(numbers), sellers, by_metadata, parser) as ready:
        yield ready


@pytest_asyncio.fixture(loop_scope="session")
async def header_stage(
    numbers: Iterator[int], sellers: Sellers, by_header: tuple[LocalGateway, int], parser: Parser
) -> AsyncIterator[Stage]:
    async with set_stage(next(numbers), sellers, by_header, parser) as ready:
        yield ready
