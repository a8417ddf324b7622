"""A provider that fails every second request for ten minutes: how conversations fare, in simulated time.

Nothing here is real but what decides: reading, memory, health, decision and what is learned from Envoy's log are those
of a worker. A router that always tries the same provider first meets the same requests, for comparison.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final, Protocol, TypeAlias

import msgspec

from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model, Policy
from limpet_extproc.contract.prices import Price
from limpet_lab.bench.faults.simulated_worker import SimulatedWorker

DURATION_S: Final = 600.0
CONVERSATIONS: Final = 50
"""That go on at the same time; where one ends, the next begins."""

CACHE_TTL_S: Final = 300.0
OUTPUT_TOKENS: Final = 300
_FIRST_TOKENS: Final = (2_000, 8_000)
_MORE_TOKENS: Final = (300, 1_500)
"""By which each turn is longer than the one before."""
_TURNS: Final = (3, 30)
_PAUSE_S: Final = (5.0, 30.0)

FLAKY: Final = "flaky"
PRICES_USD: Final = {FLAKY: 1.0, "steady": 3.0, "spare": 3.2}
"""For a million tokens. The one that fails is the cheapest, and not by little: all else speaks for going back to it."""


class FlakyTurn(msgspec.Struct, frozen=True, order=True):
    """One request of the load."""

    at_s: float
    conversation: str
    prompt_tokens: int


class FlakyRun(msgspec.Struct, frozen=True):
    """What became of the load."""

    requests: int
    client_errors: int
    extra_attempts: int
    most_switches: int
    """Of any conversation: how often a turn was served by another provider than the one before."""
    returns: int
    """Turns that were served where their conversation had been before it was elsewhere."""
    cached_share: float
    """Of all prompt tokens that were answered."""


class Turns(Protocol):
    """A router for the simulation."""

    async def order(self, turn: FlakyTurn) -> Sequence[str]:
        """The providers to try."""

    async def learn(self, turn: FlakyTurn, attempts: Sequence[Attempt], cached_tokens: int) -> None:
        """What became of the request whose order was asked for last."""


Fails: TypeAlias = Callable[[int, float], bool]
"""Whether the provider that fails does so at its request of this number, counted from 1, at this time of the load."""


def every_second(number: int, at_s: float) -> bool:
    """As regular as can be: it never fails twice in a row."""
    return number % 2 == 0


def _never(number: int, at_s: float) -> bool:
    return False


@dataclass(slots=True)
class _Seller:
    """A provider with a prompt cache."""

    fails: Fails
    requests: int = 0
    cached: dict[str, tuple[int, float]] = field(default_factory=dict)
    """By conversation: the tokens in the cache, and until when."""

    def answer(self, turn: FlakyTurn) -> int | None:
        """The tokens read from the cache; None: it fails, and its cache stays as it is."""
        self.requests += 1
        if self.fails(self.requests, turn.at_s):
            return None
        tokens, until_s = self.cached.get(turn.conversation, (0, 0.0))
        self.cached[turn.conversation] = (turn.prompt_tokens, turn.at_s + CACHE_TTL_S)
        return tokens if turn.at_s < until_s else 0


def load(seed: int) -> list[FlakyTurn]:
    """The requests, the same for every router."""
    random = Random(seed)  # noqa: S311 - a load, no secret
    turns = []
    for number in range(CONVERSATIONS):
        at_s, begun = random.uniform(0.0, _PAUSE_S[1]), 0
        while at_s < DURATION_S:
            tokens = random.randint(*_FIRST_TOKENS)
            for _ in range(random.randint(*_TURNS)):
                turns.append(FlakyTurn(at_s, f"{number}-{begun}", tokens))
                tokens += random.randint(*_MORE_TOKENS)
                at_s += random.uniform(*_PAUSE_S)
            begun += 1
    return sorted(turn for turn in turns if turn.at_s < DURATION_S)


async def run(router: Turns, turns: Sequence[FlakyTurn], fails: Fails = every_second) -> FlakyRun:
    """Send the load through a router."""
    sellers = {name: _Seller(fails if name == FLAKY else _never) for name in PRICES_USD}
    served: dict[str, list[str]] = {turn.conversation: [] for turn in turns}
    errors = extra = prompt = cached = 0
    for turn in turns:
        attempts: list[Attempt] = []
        read: int | None = None
        for name in await router.order(turn):
            read = sellers[name].answer(turn)
            if read is not None:
                attempts.append(Attempt(name, MODEL, 200, "ok"))
                break
            attempts.append(Attempt(name, MODEL, 500, "failed", "ServerError"))
        await router.learn(turn, attempts, read or 0)
        extra += len(attempts) - 1
        if read is None:
            errors += 1
            continue
        prompt, cached = prompt + turn.prompt_tokens, cached + read
        places = served[turn.conversation]
        if places[-1:] != [attempts[-1].provider]:
            places.append(attempts[-1].provider)
    most_switches = max(len(places) for places in served.values()) - 1
    returns = sum(len(places) - len(set(places)) for places in served.values())
    return FlakyRun(len(turns), errors, extra, most_switches, returns, cached / prompt)


MODEL: Final = "flash"


class AlwaysTheSame:
    """Tries the provider that fails first, and then the others, whatever happens."""

    async def order(self, turn: FlakyTurn) -> Sequence[str]:
        """See `Turns`."""
        return tuple(PRICES_USD)

    async def learn(self, turn: FlakyTurn, attempts: Sequence[Attempt], cached_tokens: int) -> None:
        """See `Turns`."""


class OneWorker:
    """A worker of Limpet."""

    def __init__(self) -> None:
        self._now_s = 0.0
        self._worker = SimulatedWorker(_catalog(), lambda: self._now_s)

    async def order(self, turn: FlakyTurn) -> Sequence[str]:
        """See `Turns`."""
        # Its clock must not begin at 0, which is before anything can have happened.
        self._now_s = _BEGIN_S + turn.at_s
        return await self._worker.order(turn.conversation, MODEL, turn.prompt_tokens)

    async def learn(self, turn: FlakyTurn, attempts: Sequence[Attempt], cached_tokens: int) -> None:
        """See `Turns`."""
        await self._worker.learn(attempts, turn.prompt_tokens, cached_tokens, OUTPUT_TOKENS)


_BEGIN_S: Final = 1_760_000_000.0


def _catalog() -> Catalog:
    return Catalog(
        "r1",
        tuple(
            CatalogProvider(
                name,
                (Model(MODEL, MODEL, 1024, Price(input=usd, output=4 * usd, cache_read=usd / 10, cache_write=usd)),),
                cache_ttl_s=CACHE_TTL_S,
            )
            for name, usd in PRICES_USD.items()
        ),
        (Policy(),),
    )
