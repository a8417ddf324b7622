"""Memories to try: one Redis for all tests that do it no harm, and gateways that share it."""

import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import AsyncExitStack
from itertools import count
from pathlib import Path

import pytest
import pytest_asyncio
from prometheus_client import CollectorRegistry
from tests.extproc.memory.redis_server import RedisServer, servers
from tests.waiting import until

from limpet_extproc.memory.redis.redis_memory import RedisMemory, open_memory

PROVIDERS = ("a", "b", "c", "d", "long", "short", "other")

LONG_S = 10.0
"""A deadline that only a broken memory misses: these tests run beside others."""


_SERVERS = {"shared_redis", "own_redis", "guarded_redis"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if isinstance(item, pytest.Function) and _SERVERS & set(item.fixturenames):
            item.add_marker(pytest.mark.slow)


class Gateway:
    """One worker's shared memory, and what it counts."""

    def __init__(self, memory: RedisMemory, registry: CollectorRegistry) -> None:
        self.memory = memory
        self._registry = registry

    def failures(self, operation: str, reason: str) -> float:
        labels = {"operation": operation, "reason": reason}
        return self._registry.get_sample_value("limpet_memory_failures_total", labels) or 0.0

    @property
    def up(self) -> bool:
        return self._registry.get_sample_value("limpet_memory_up") == 1.0

    @property
    def writable(self) -> bool:
        return self._registry.get_sample_value("limpet_memory_writable") == 1.0


class Gateways:
    """Opens memories and closes them after the test."""

    def __init__(self, stack: AsyncExitStack) -> None:
        self._stack = stack

    async def open(
        self,
        url: str,
        *,
        credentials: Path | None = None,
        deadline_s: float = LONG_S,
        providers: Callable[[], Collection[str]] = lambda: PROVIDERS,
    ) -> Gateway:
        registry = CollectorRegistry()
        memory = open_memory(
            url, providers=providers, registry=registry, credentials=credentials, deadline_s=deadline_s
        )
        self._stack.push_async_callback(memory.close)
        await memory.start()
        return Gateway(memory, registry)

    async def memory_at(self, url: str) -> RedisMemory:
        """One that is up: a start goes on without Redis when that takes long, as on a loaded machine it may."""
        gateway = await self.open(url)
        await until(lambda: gateway.up, f"memory at {url}")
        return gateway.memory


@pytest_asyncio.fixture
async def gateways() -> AsyncIterator[Gateways]:
    async with AsyncExitStack() as stack:
        yield Gateways(stack)


@pytest.fixture(scope="session")
def shared_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """For tests that only read and write."""
    with servers(RedisServer(tmp_path_factory.mktemp("redis"))) as (server,):
        yield server


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[RedisServer]:
    """For tests that break it."""
    with servers(RedisServer(tmp_path / "redis")) as (server,):
        yield server


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    """So that no two tests speak of the same conversation."""
    return count(1)


@pytest.fixture
def key(numbers: Iterator[int]) -> bytes:
    return next(numbers).to_bytes(16, "big")


@pytest.fixture
def log_lines(caplog: pytest.LogCaptureFixture) -> Callable[[], list[str]]:
    """What the memory has logged so far."""
    caplog.set_level(logging.INFO, "limpet_extproc.memory")
    return lambda: [record.getMessage() for record in caplog.records if record.name.startswith("limpet_extproc.memory")]
