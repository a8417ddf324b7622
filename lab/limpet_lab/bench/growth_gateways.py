"""The gateways of `limpet bench growth`: one for each value of a dimension, all up at once before the same upstream."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from shutil import which
from typing import Final

import psutil

from limpet_lab.bed import Bed, Object
from limpet_lab.bench.cpu_time import cpu_ns
from limpet_lab.bench.growth_conversations import fill
from limpet_lab.bench.latency import NotMeasuredError
from limpet_lab.bench.latency_load import MODEL, SIZES, body
from limpet_lab.bench.latency_targets import ask, chat_url, configuration, start_envoy, upstream_config
from limpet_lab.bench.memory import answering, opened, redis_server
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.children import ChildDied, Children
from limpet_operator.laptop.listen import CannotStart
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser


class Dimension(StrEnum):
    """What grows."""

    WORKERS = "workers"
    CONVERSATIONS = "conversations"
    """That are remembered in Redis."""
    PROVIDERS = "providers"
    """Of one model."""
    MODELS = "models"


_SECRET: Final = b"the same for all gateways of one installation"
_DEADLINE: Final = "--redis-deadline-ms=1000"
"""So long that a slow lookup is a slow request, and none that is cheap for want of its conversation."""
_UPSTREAM_THREADS: Final = 1
_WHOLE_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class GrownGateway:
    """A gateway that is up."""

    value: int
    """Of its dimension."""
    url: str
    envoy_pid: int
    extproc_pid: int
    """Of the worker, or of several workers' parent."""
    metrics_port: int
    sessions: int | None = None
    """So many conversations are remembered, by their session; None: they go by what opens them."""

    def cpu_ns(self) -> dict[str, int]:
        """What Envoy and ext_proc, all workers together, have used so far."""
        parent = psutil.Process(self.extproc_pid)
        workers = [self.extproc_pid, *(child.pid for child in parent.children(recursive=True))]
        return {"envoy": cpu_ns(self.envoy_pid), "extproc": sum(map(cpu_ns, workers))}


@asynccontextmanager
async def gateways(
    dimension: Dimension,
    values: Sequence[int],
    folder: Path,
    bodies: Path,
    say: Callable[[str], None],
    *,
    one_price: bool = False,
) -> AsyncIterator[list[GrownGateway]]:
    """All of them, ready and answering, in the order of the values; everything has ended when the block ends.

    `one_price`: many providers of one model sell it at the same.
    Raises NotMeasuredError with the value that cannot run.
    """
    children, upstream_port = Children(folder), free_port()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(children.stop)
        await start_envoy(children, "upstream", upstream_config(upstream_port), _UPSTREAM_THREADS, upstream_port)
        running = []
        for value in values:
            try:
                given = objects(dimension, value, upstream_port, one_price=one_price)
                gateway = await stack.enter_async_context(_gateway(dimension, value, given, folder, bodies))
            except (CannotStart, ChildDied, NotMeasuredError, OSError, ValueError) as error:
                raise NotMeasuredError(f"{dimension} {value:,} cannot run: {error or type(error).__name__}") from error
            running.append(gateway)
            say(f"{dimension} {value:,} is up")
        yield running


@asynccontextmanager
async def _gateway(
    dimension: Dimension, value: int, given: Sequence[Object], folder: Path, bodies: Path
) -> AsyncIterator[GrownGateway]:
    metrics_port, remembers = free_port(), dimension == Dimension.CONVERSATIONS
    async with AsyncExitStack() as stack:
        flags: Sequence[str] = ()
        if remembers or dimension == Dimension.WORKERS:  # Several workers need a memory that they share.
            redis_port = await _redis(stack)
            flags = _shared(redis_port, folder)
        settings = LocalSettings(
            port=free_port(),
            extproc_metrics_port=metrics_port,
            extproc_workers=value if dimension == Dimension.WORKERS else 1,
            extproc_flags=flags,
        )
        gateway = await stack.enter_async_context(LocalGateway(settings))
        plan = Bed(Sellers([]), gateway, Parser.load()).apply(given)
        await gateway.ready()
        url = chat_url(settings.port)
        await _whole(url, plan)
        if remembers:
            async with opened(redis_port, [each.name for each in plan.providers]) as shared:
                await fill(url, redis_port, shared, _SECRET, bodies, value)
        envoy_pid, extproc_pid = gateway.children.pid("envoy"), gateway.children.pid("ext_proc")
        yield GrownGateway(value, url, envoy_pid, extproc_pid, metrics_port, value if remembers else None)


def objects(dimension: Dimension, value: int, upstream_port: int, *, one_price: bool = False) -> list[Object]:
    """What the gateway with this value is given, as a user would write it."""
    if dimension == Dimension.PROVIDERS:
        return configuration(upstream_port, rename=False, providers=value, one_price=one_price)
    if dimension == Dimension.MODELS:
        models = [MODEL, *(f"bench/model-{number}" for number in range(1, value))]
        return configuration(upstream_port, rename=False, models=models)
    return configuration(upstream_port, rename=False)


async def _redis(stack: AsyncExitStack) -> int:
    if which("redis-server") is None:
        raise NotMeasuredError("redis-server is not installed: 'apt-get install redis-server', or your system's way")
    port = stack.enter_context(redis_server())
    await answering(port)
    return port


def _shared(redis_port: int, folder: Path) -> Sequence[str]:
    key = folder / "memory-key"
    key.write_bytes(_SECRET)
    return (f"--redis-url=redis://127.0.0.1:{redis_port}", f"--memory-key-file={key}", _DEADLINE)


async def _whole(url: str, plan: Plan) -> None:
    """Return when each provider has answered for the last of its models. Raises NotMeasuredError."""
    deadline_s = time.monotonic() + _WHOLE_S
    for each in plan.providers:
        wanted = f"200 from {each.name}"
        content = json.loads(body(0, SIZES["2KB"], each.spec.models[-1].name))
        asked = json.dumps({**content, "provider": {"order": [each.name], "allow_fallbacks": False}}).encode()
        while (came := await _answer(url, asked)) != wanted:
            if time.monotonic() > deadline_s:
                raise NotMeasuredError(f"{came} instead of {wanted} after {_WHOLE_S:.0f} s")
            await asyncio.sleep(0.05)


async def _answer(url: str, content: bytes) -> str:
    status, headers = await asyncio.to_thread(ask, url, content)
    return f"{status} from {headers.get('x-limpet-provider', 'nobody')}"
