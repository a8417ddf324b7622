"""Probes providers while this replica leads, and tells the workers and its own status writers what comes of it.

The schedule, the judgement and the board are pure values; here they meet clocks, chance and the workers.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from random import Random
from typing import Final, Never, Protocol

from limpet_extproc.contract.health_stream import NOT_SENT, ProbeAnswer, Probed, ProbeRequest, ProbeVerdicts
from limpet_extproc.contract.price_windows import prices_at
from limpet_extproc.contract.probe_cost import cost_usd
from limpet_operator.planning.plan import Plan, PlannedProvider
from limpet_operator.probe import board as boards
from limpet_operator.probe import schedule as schedules
from limpet_operator.probe.board import Board, Probing
from limpet_operator.probe.combine import by_provider
from limpet_operator.probe.fair_share import may_start
from limpet_operator.probe.metrics import ProbeMetrics, count
from limpet_operator.probe.outcome import outcome
from limpet_operator.probe.request import probe_request
from limpet_operator.probe.schedule import Pair, ProbeSchedule
from limpet_operator.probe.view import ProbeResult
from limpet_operator.resources.healthprobe import CompletionCheck
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.serve.health_exchange import CannotAskError
from limpet_operator.serve.tasks import first_of

_log = logging.getLogger(__name__)

REPEAT_S: Final = 10.0
"""How often the verdicts are published although none has changed."""
VALID_S: Final = 3 * REPEAT_S
"""How long they hold without that. Another replica takes over and has verdicts of its own within less."""
MAX_UNDER_WAY: Final = 64
"""Places for probes at the same time; further ones wait their turn. A worker takes as many."""
SETTLE_S: Final = 0.25
"""What changes this soon after something was told is told with what follows: the answers of many come one by one."""
LOOK_S: Final = 0.25
"""How often it is looked whether this replica still leads, and whether there is anything to tell."""


class ProbeWorkers(Protocol):
    """Those who send probes and hear of verdicts: a `serve.health_exchange.HealthExchange`."""

    @property
    def workers(self) -> int:
        """How many are connected to this replica."""

    async def ask(self, request: ProbeRequest) -> ProbeAnswer:
        """What became of it. Raises CannotAskError if there is nobody to ask."""

    def publish(self, verdicts: ProbeVerdicts) -> None:
        """Tell all workers."""

    def verdicts(self) -> ProbeVerdicts | None:
        """The ones published last, by any replica, if they still hold."""


@dataclass(frozen=True, slots=True)
class Chance:
    """Where time and randomness come from."""

    now: Callable[[], float] = time.time
    """Unix seconds."""
    steady: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep
    random: Random = field(default_factory=Random)


class Prober:
    """Implements `probe.view.ProbeView`. All methods belong to one event loop."""

    def __init__(
        self,
        workers: ProbeWorkers,
        metrics: ProbeMetrics,
        leads: Callable[[], bool],
        on_change: Callable[[], None],
        chance: Chance | None = None,
    ) -> None:
        """`leads()` is whether this replica probes now; `on_change()` runs when a verdict or its cause has changed."""
        self._workers = workers
        self._metrics = metrics
        self._leads = leads
        self._on_change = on_change
        self._chance = chance or Chance()
        self._plan: Plan | None = None
        self._board = Board()
        self._schedule = ProbeSchedule()
        self._under_way: dict[Pair, asyncio.Task[None]] = {}
        self._leading = False
        self._reached = False
        self._inherited: tuple[Probed, ...] = ()
        self._inherited_until_s = 0.0
        self._published: tuple[Probed, ...] | None = None
        self._good: frozenset[tuple[str, str]] = frozenset()
        self._publish_s = self._tell_s = 0.0
        self._noted: frozenset[tuple[object, ...]] = frozenset()
        self._told: Board | None = None
        self._wake = asyncio.Event()

    def results(self) -> Mapping[ObjectKey, Sequence[ProbeResult]]:
        """`ProbeView.results`."""
        return boards.results(self._board)

    def probed(self) -> Mapping[str, Sequence[Probed]]:
        """`ProbeView.probed`."""
        return by_provider(self._published or ())

    def plan_changed(self, plan: Plan) -> None:
        """Probe by this plan from now on."""
        self._plan = plan
        if self._leading:
            self._replan(plan)
        self._wake.set()

    async def run(self) -> Never:
        """Probe whenever this replica leads, until cancelled."""
        try:
            while True:
                await self._turn()
        finally:
            self._end()

    async def _turn(self) -> None:
        """Do what is due, and wait for the next thing to do."""
        self._wake.clear()
        if self._leading and not self._leads():
            self._end()
            self._on_change()
        elif not self._leading and self._plan is not None and self._leads():
            self._begin(self._plan)
        if self._leading:
            self._start_due()
            self._tell()
        now_s = self._chance.steady()
        # What is due already waits for its place: the end of another probe wakes this up.
        next_s = self._schedule.next_s(after_s=now_s)
        wait_s = LOOK_S if next_s is None else min(LOOK_S, max(0.0, next_s - now_s))
        await first_of(self._wake.wait(), self._chance.sleep(wait_s))

    def _begin(self, plan: Plan) -> None:
        """Lead from now on. The verdicts of the replica that did before stand until there are own ones."""
        self._leading = True
        before = self._workers.verdicts()
        if before is not None:
            self._inherited = before.probed
            self._inherited_until_s = self._chance.steady() + VALID_S
        self._replan(plan)

    def _end(self) -> None:
        """It no longer does: nothing more is sent, told or known."""
        self._leading = False
        for task in self._under_way.values():
            task.cancel()
        self._board, self._schedule = Board(), ProbeSchedule()
        self._inherited, self._published, self._told = (), None, None
        self._noted = self._good = frozenset()

    def _replan(self, plan: Plan) -> None:
        providers = {provider.name: provider for provider in plan.providers}
        self._board, changed = boards.replanned(self._board, plan.probes, providers)
        for pair in self._under_way.keys() - self._board.pairs.keys():
            self._under_way[pair].cancel()
        self._schedule = schedules.planned(
            self._schedule, self._board.intervals_s(), changed, self._chance.steady(), self._chance.random
        )

    def _start_due(self) -> None:
        now_s = self._chance.steady()
        reached, self._reached = self._reached, self._workers.workers > 0
        if self._reached and not reached:
            self._schedule = schedules.reachable(self._schedule, now_s, self._chance.random)
        starting = may_start(self._schedule.due(now_s), self._under_way, MAX_UNDER_WAY)
        if starting:
            self._schedule = schedules.started(self._schedule, starting, now_s)
        for pair in starting:
            task = asyncio.create_task(self._probe(pair, self._board.pairs[pair]))
            self._under_way[pair] = task
            task.add_done_callback(partial(self._ended, pair))

    async def _probe(self, pair: Pair, asked: Probing) -> None:
        started_s = self._chance.steady()
        sent = False
        try:
            answer = await self._answer(asked)
            if self._leads():
                sent = self._take(pair, asked, answer, started_s)
        except Exception:
            _log.exception("a probe of %s failed in Limpet; please report this", pair.provider)
        probing = self._board.pairs.get(pair)
        settled = probing is None or probing.standing.settled
        now_s, random = self._chance.steady(), self._chance.random
        self._schedule = schedules.ended(self._schedule, pair, now_s, random, settled=settled, sent=sent)

    async def _answer(self, asked: Probing) -> ProbeAnswer:
        request = probe_request(asked.probe, asked.target, asked.provider.spec)
        try:
            return await self._workers.ask(request)
        except CannotAskError as error:
            return ProbeAnswer(0, failure=f"{NOT_SENT}{error}")

    def _take(self, pair: Pair, asked: Probing, answer: ProbeAnswer, sent_s: float) -> bool:
        """Note what came of it; whether it was sent."""
        found = outcome(answer, asked.probe, asked.provider.spec, asked.provider.keys())
        check = asked.probe.check
        usd = self._usd(answer, asked.provider, check.model) if isinstance(check, CompletionCheck) else 0.0
        count(self._metrics, pair.provider, found, usd)
        self._board = boards.with_outcome(self._board, pair, asked, found, self._chance.now(), sent_s)
        return not found.not_sent

    def _usd(self, answer: ProbeAnswer, provider: PlannedProvider, model: str) -> float | None:
        prices = provider.prices.get(model)
        if prices is None:
            return cost_usd(answer, None)
        return cost_usd(answer, prices_at(prices.price, prices.rules, self._chance.now()).price)

    def _ended(self, pair: Pair, task: asyncio.Task[None]) -> None:
        if self._under_way.get(pair) is task:
            del self._under_way[pair]
        self._wake.set()

    def _tell(self) -> None:
        """Publish what has changed, and from time to time what has not."""
        now_s = self._chance.steady()
        if now_s < self._tell_s or (self._board is self._told and now_s < self._publish_s):
            return
        self._tell_s, self._told = now_s + SETTLE_S, self._board
        if now_s >= self._inherited_until_s:
            self._inherited = ()
        current = boards.verdicts(self._board, self._inherited)
        aged = boards.with_ages(current, self._board, now_s)
        good = frozenset((each.provider, each.model) for each in aged if each.good_age_s is not None)
        # One that is good again after a bad one may end what requests saw, and is news although no verdict changes.
        news = current != self._published or good - self._good
        if news or (current and now_s >= self._publish_s):
            self._workers.publish(ProbeVerdicts(aged, VALID_S))
            self._publish_s = now_s + REPEAT_S
            self._published = current
        self._good = good
        noted = frozenset(boards.noteworthy(boards.results(self._board)))
        if noted != self._noted:
            self._noted = noted
            self._on_change()
