"""Plays the faults on the bed, one after another, each with new conversations."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from random import Random
from typing import Final

import openai
from openai import AsyncOpenAI

from limpet_lab.bench.faults.bars import FaultBar, FaultOutcome
from limpet_lab.bench.faults.bed import FaultBed
from limpet_lab.bench.faults.decision_times import p99_ms
from limpet_lab.bench.faults.figures import Timeline, figures_of
from limpet_lab.bench.faults.load import SteadyLoad
from limpet_lab.bench.faults.objects import MODEL, SELLERS
from limpet_lab.bench.faults.scene import Scene
from limpet_lab.bench.faults.table import CampaignFault
from limpet_lab.bench.faults.talks import Talk

_SETTLE_S: Final = 40.0
_BETWEEN_S: Final = 0.05
_LEARNING: Final = 3
"""Times as long until a fault begins that makes a provider slow: it is slow by its own measure, learned from load."""
_IN_A_ROW: Final = 4
"""Answers that show a provider to be well, whichever worker decides."""


@dataclass(frozen=True, slots=True)
class LoadPace:
    """How much load there is, and for how long."""

    conversations: int = 50
    turn_s: float = 2.0
    before_s: float = 4.5
    during_s: float = 6.0
    after_s: float = 4.0


FULL: Final = LoadPace()
SHORT: Final = LoadPace(conversations=20, turn_s=1.0, before_s=2.5, during_s=3.5, after_s=1.5)


@dataclass(frozen=True, slots=True)
class Played:
    """A fault that was played."""

    fault: CampaignFault
    outcome: FaultOutcome
    missed: tuple[tuple[FaultBar, str], ...]
    """Bars that were missed, each with what was seen."""

    @property
    def held(self) -> bool:
        """Whether all bars were held."""
        return not self.missed


async def campaign(bed: FaultBed, faults: Sequence[CampaignFault], seed: int, pace: LoadPace) -> AsyncIterator[Played]:
    """Play these faults. Raises ChildDied, SellerFailedError, and NotSettledError if a provider stays out."""
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                AsyncOpenAI(base_url=gateway.place.base_url, api_key="campaign", max_retries=0)
            )
            for gateway in bed.gateways
        ]
        for fault in faults:
            await _settled(bed, clients, f"{seed}/{fault.name}/settling")
            yield await play(bed, fault, clients, seed, pace)


async def play(
    bed: FaultBed, fault: CampaignFault, clients: Sequence[AsyncOpenAI], seed: int, pace: LoadPace
) -> Played:
    """Play one fault. `seed` and the fault's name decide what is said, and when."""
    talks = [
        Talk(number, f"{seed}/{fault.name}/{number}", streams=(number // len(clients)) % 2 == 1)
        for number in range(pace.conversations)
    ]
    scene = Scene(bed, fault.victim)
    if fault.before_load:
        await fault.begin(scene)
    load = SteadyLoad(clients, talks, pace.turn_s, Random(f"{seed}/{fault.name}"))  # noqa: S311 - no secret
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run())
        times = [await bed.decision_times()]
        await asyncio.sleep(pace.before_s * (_LEARNING if fault.slow else 1))
        times.append(await bed.decision_times())
        begun_s = load.now_s
        if not fault.before_load:
            await fault.begin(scene)
        await asyncio.sleep(max(0.0, begun_s + (fault.during_s or pace.during_s) - load.now_s))
        times.append(await bed.decision_times())
        await fault.end(scene)
        ended_s = load.now_s
        await asyncio.sleep(pace.after_s)
        load.stop()
    await fault.clean(scene)
    timeline = Timeline(begun_s, ended_s, begun_s if fault.heals_at_once else ended_s, scene.notes)
    victim = fault.victim if fault.concerns_provider else None
    figures = figures_of(load.exchanges, timeline, victim, fault.slow, (p99_ms(*times[:2]), p99_ms(*times[1:])))
    outcome = FaultOutcome(figures, timeline, load.exchanges, fault.victim)
    missed = tuple((bar, seen) for bar in fault.bars if (seen := bar.missed(outcome)) is not None)
    return Played(fault, outcome, missed)


class NotSettledError(Exception):
    """Something is still amiss from the fault before; the message says what."""


async def _settled(bed: FaultBed, clients: Sequence[AsyncOpenAI], seed: str) -> None:
    """Return when every provider answers, through every gateway and at once, those who demand it, and is healthy."""

    async def settled(number: int, seller: str) -> None:
        in_a_row = 0
        while in_a_row < _IN_A_ROW or not bed.healthy(seller):
            answered = await _answers_at_once(clients[number], f"{seed}/{number}/{next(asked)}", seller)
            in_a_row = in_a_row + 1 if answered else 0
            await asyncio.sleep(_BETWEEN_S)

    asked = count()
    try:
        async with asyncio.timeout(_SETTLE_S), asyncio.TaskGroup() as group:
            for number in range(len(clients)):
                for seller in SELLERS:
                    group.create_task(settled(number, seller))
    except TimeoutError:
        unwell = [seller for seller in SELLERS if not bed.healthy(seller)]
        raise NotSettledError(f"after {_SETTLE_S:.0f} s a fault is not over; not healthy: {unwell or 'none'}") from None


async def _answers_at_once(client: AsyncOpenAI, seed: str, seller: str) -> bool:
    try:
        answer = await client.chat.completions.with_raw_response.create(
            model=MODEL, messages=Talk(0, seed, streams=False).question(), extra_body={"provider": {"only": [seller]}}
        )
    except openai.APIError:
        return False
    return answer.headers.get("x-limpet-attempts") == "1"
