"""Plays the requests of a trace to simulated providers by one rule set, on a virtual clock."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Final, NamedTuple, Protocol

import msgspec

from limpet_lab.replay.requests import ReplayedRequest
from limpet_lab.replay.sellers import ReplayedAnswer, SellerSpec, SimulatedSeller
from limpet_lab.sim.cache import Reading

MOST_ATTEMPTS: Final = 3
"""Providers that a request may try, as by Limpet's default policy. After them its client tries again."""
_CLIENT_TRIES: Final = 3


class Tried(msgspec.Struct, frozen=True, gc=False):
    """What became of a request."""

    failures: tuple[tuple[str, int], ...]
    """The providers that failed it, each with the status of its answer."""
    served: ReplayedAnswer | None
    """None: nobody answered."""


class ReplayedRules(Protocol):
    """Decides where requests go, knowing no more than a gateway could."""

    async def order(self, request: ReplayedRequest, now_s: float) -> Sequence[str]:
        """The providers to try, best first."""

    async def ended(self, request: ReplayedRequest, tried: Tried, now_s: float) -> None:
        """The answer is complete, or nobody has answered."""


@dataclass(slots=True)
class ReplayedBill:
    """What a rule set paid."""

    usd: float = 0.0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    switches: int = 0
    """Requests that another provider served than the one before them that they share most with."""
    failed_attempts: int = 0
    unserved: int = 0
    requests: Counter[str] = field(default_factory=Counter)
    """By the provider that served them."""

    @property
    def cached_share(self) -> float:
        """Cached tokens over all prompt tokens."""
        return self.cached_tokens / self.prompt_tokens if self.prompt_tokens else 0.0


class _Later(NamedTuple):
    at_s: float
    number: int
    """Of the request."""
    tried: Tried
    reading: Reading | None
    """Of its first byte: what is to be kept. None: it is its end."""


async def play(rules: ReplayedRules, requests: Sequence[ReplayedRequest], specs: Sequence[SellerSpec]) -> ReplayedBill:
    """The bill of a rule set."""
    sellers = {spec.name: SimulatedSeller(spec) for spec in specs}
    begin_s = requests[0].at_s if requests else 0.0
    bill = ReplayedBill()
    at: list[str] = []
    later: list[tuple[float, int, _Later]] = []
    for request in requests:
        while later and later[0][0] <= request.at_s:
            await _happen(heappop(later)[2], rules, requests, sellers)
        tried, reading = await _try(rules, request, sellers, begin_s, bill)
        served = tried.served
        at.append(served.provider if served else "")
        if served is None:
            bill.unserved += 1
            continue
        for event in (
            _Later(request.at_s + served.first_byte_s, request.number, tried, reading),
            _Later(request.at_s + served.seconds, request.number, tried, None),
        ):
            heappush(later, (event.at_s, 2 * request.number + (event.reading is None), event))
        _count(bill, request, served)
        bill.switches += request.before >= 0 and at[request.before] not in ("", served.provider)
    return bill


async def _happen(
    event: _Later, rules: ReplayedRules, requests: Sequence[ReplayedRequest], sellers: Mapping[str, SimulatedSeller]
) -> None:
    request, served = requests[event.number], event.tried.served
    if event.reading is None:
        await rules.ended(request, event.tried, event.at_s)
    elif served is not None:
        sellers[served.provider].keep(request, event.reading, event.at_s)


async def _try(
    rules: ReplayedRules,
    request: ReplayedRequest,
    sellers: Mapping[str, SimulatedSeller],
    begin_s: float,
    bill: ReplayedBill,
) -> tuple[Tried, Reading | None]:
    """Until somebody answers: a client whose request has failed at all that were tried sends it again."""
    for _ in range(_CLIENT_TRIES):
        failures: list[tuple[str, int]] = []
        for name in (await rules.order(request, request.at_s))[:MOST_ATTEMPTS]:
            if status := sellers[name].spec.fails(request, begin_s):
                failures.append((name, status))
                bill.failed_attempts += 1
                continue
            served, reading = sellers[name].serve(request)
            return Tried(tuple(failures), served), reading
        await rules.ended(request, Tried(tuple(failures), None), request.at_s)
    return Tried((), None), None


def _count(bill: ReplayedBill, request: ReplayedRequest, served: ReplayedAnswer) -> None:
    bill.usd += served.usd
    bill.prompt_tokens += request.prompt_tokens
    bill.cached_tokens += served.cached_tokens
    bill.requests[served.provider] += 1
