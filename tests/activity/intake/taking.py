"""An intake with its servers, and workers' calls."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import grpc
import grpc.aio
from prometheus_client import CollectorRegistry
from tests.activity.store.answers import T0, one

from limpet_activity.intake.intake import Intake
from limpet_activity.intake.metrics import IntakeMetrics
from limpet_activity.intake.server import start_servers, stop_servers
from limpet_activity.intake.store_health import StoreHealth
from limpet_activity.store.taking import Take
from limpet_extproc.contract.activity import METHOD, VERSION, ActivityBatch, ActivityRecord, encode_batch


def batch(*numbers: int) -> ActivityBatch:
    return ActivityBatch(VERSION, "gw", 0, 0, T0, [one(number, 0) for number in numbers], (), T0)


class Service:
    """What runs, and what it counts."""

    def __init__(self, take: Take) -> None:
        self.registry = CollectorRegistry()
        self.metrics = IntakeMetrics(self.registry)
        self.health = StoreHealth(self.metrics)
        self.passed_on: list[str] = []
        self.places: list[str] = []
        self.writer = ThreadPoolExecutor(1)
        self.intake = Intake(take, [self._pass_on], self.health, self.metrics, lambda: T0, self.writer)

    def _pass_on(self, records: Sequence[ActivityRecord]) -> None:
        self.passed_on += [record.id for record in records]

    def count(self, name: str, outcome: str) -> float | None:
        return self.registry.get_sample_value(f"limpet_activity_intake_{name}_total", {"outcome": outcome})


@asynccontextmanager
async def serving(take: Take, listen: Sequence[str], tls_dir: Path | None = None) -> AsyncIterator[Service]:
    service = Service(take)
    servers, service.places = await start_servers(listen, tls_dir, "gateway.test.svc", service.intake, service.metrics)
    running = asyncio.create_task(service.intake.run())
    try:
        yield service
    finally:
        await stop_servers(servers)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        service.writer.shutdown()


async def hand_over(
    target: str, data: bytes | ActivityBatch, credentials: grpc.ChannelCredentials | None = None, name: str = ""
) -> tuple[grpc.StatusCode, str]:
    """Send a batch as a worker does; what it is told."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", name)][: 2 if name else 1]
    if credentials is None:
        channel = grpc.aio.insecure_channel(target, options=options)
    else:
        channel = grpc.aio.secure_channel(target, credentials, options=options)
    async with channel:
        try:
            call: Any = cast("Any", channel).unary_unary(METHOD)
            await call(data if isinstance(data, bytes) else encode_batch(data), timeout=10)
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
    return grpc.StatusCode.OK, ""
