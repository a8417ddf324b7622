"""Gateways as a cluster runs them: one Envoy, several ext_proc workers under their parent, and a memory they share."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psutil
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Answer, Stage
from tests.waiting import until

from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan

WORKERS: Final = 2
_PER_SECOND: Final = 20


def shared_memory(redis_url: str, directory: Path) -> list[str]:
    """The flags of gateways that remember together. The deadline is long, so that a busy machine changes no story."""
    key = directory / "memory-key"
    key.write_bytes(b"the same for all gateways of one installation")
    return [f"--redis-url={redis_url}", f"--memory-key-file={key}", "--redis-deadline-ms=1000"]


@asynccontextmanager
async def gateway_of_two(flags: Sequence[str]) -> AsyncIterator[tuple[LocalGateway, int]]:
    """A gateway without any provider yet, and the port of its data plane's pages."""
    pages_port = free_port()
    settings = LocalSettings(
        port=free_port(),
        extproc_metrics_port=pages_port,
        drain_s=0.5,
        envoy_concurrency=1,
        extproc_workers=WORKERS,
        extproc_flags=flags,
    )
    async with LocalGateway(settings) as gateway:
        gateway.apply(Plan())
        await gateway.ready()
        yield gateway, pages_port


async def all_decide(stage: Stage) -> None:
    """Return when every worker does. Envoy takes them in turn, so some answers in a row speak for all."""

    async def decided() -> bool:
        return all([await stage.announced() for _ in range(3 * WORKERS)])

    await until(decided, "every worker to decide")


def workers_of(stage: Stage) -> list[psutil.Process]:
    """The worker processes beside this stage's Envoy."""
    return psutil.Process(stage.gateway.children.pid("ext_proc")).children()


async def turn(stage: Stage, number: int) -> Answer:
    """One more request of that conversation."""
    return await stage.ask([say(LONG, "system"), say(f"Conversation {number}")])


@dataclass
class Load:
    """Requests of many conversations at a steady pace, and what became of each."""

    stage: Stage
    conversations: Sequence[int] = range(24)
    answers: list[tuple[float, int, Answer]] = field(default_factory=list)
    """When it was asked, by which conversation, and the answer."""
    errors: list[BaseException] = field(default_factory=list)

    async def run(self, seconds: float) -> None:
        """Ask for so long, and return when all have been answered."""
        async with asyncio.TaskGroup() as group:
            for number in range(int(seconds * _PER_SECOND)):
                group.create_task(self._one(self.conversations[number % len(self.conversations)]))
                await asyncio.sleep(1 / _PER_SECOND)

    async def _one(self, number: int) -> None:
        asked_s = time.monotonic()
        try:
            self.answers.append((asked_s, number, await turn(self.stage, number)))
        except Exception as error:
            self.errors.append(error)

    def undecided(self, since_s: float = 0.0) -> int:
        """How many were served in the order of the route because no worker decided."""
        return sum(answer.decision == "fallback.undecided" for asked_s, _, answer in self.answers if asked_s >= since_s)

    def homes(self) -> dict[int, set[str]]:
        """Where each conversation was sent by decisions."""
        homes: dict[int, set[str]] = {}
        for _, number, answer in self.answers:
            if answer.decision != "fallback.undecided":
                homes.setdefault(number, set()).add(answer.seller)
        return homes
