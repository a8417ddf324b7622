"""A sum below which no routing could have served a trace, even with all of the future known.

The cheapest way to serve a trace is a puzzle of exponential size: whatever is sent somewhere changes what later
requests find there. This bound is a puzzle of the same requests, providers and prices in which caches hold no less.

1. *Generous caches.* Let G(p) be the cache of provider p if it had served every request of the trace, each with its
   first byte at the earliest. Whatever a routing does, p's real cache holds no block at any time that G(p) does not:
   its writes and reads are some of those of G(p), a block's life is only ever prolonged by a further one, and no writer
   makes it readable earlier than in G(p). So a request finds at most what it finds in G(p), and as a cached token costs
   no more than another one (where it does, count none as cached) it costs at least `cost(p, G)`.
2. *A group starts cold.* Take all requests that share more than their first h blocks, so that no other request has any
   of their further blocks. As long as p has served none of the group, it has only those h blocks of them. Nor has it
   more when the whole group has been silent for the lifetime of p's cache. So of each group's bill it is enough to know
   which providers have served some of it since: a set, of which there are 2^n for n providers. Dynamic programming over
   these sets, in the order of time, finds the least sum of `cost(p, first h blocks)` where p is not in the set and
   `cost(p, G)` where it is. Any routing pays at least that for the group.
3. *A line exactly.* Where each request of a group goes on from the one before, its cheapest routing is found itself
   (`bound_line`), with nothing generous but the first h blocks.
4. *Sum.* The requests of a trace can be divided into such groups in several ways: a group as a whole, or each of the
   groups that go on differently from what it shares. Each way gives a bound, as each request is in one group. The
   greater one is taken at each division.

Providers that fail a request are no choice for it. The bill of the bound's own choices, played for real, is printed
beside it: the true optimum lies between these two.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from typing import Final

from limpet_lab.replay.bills import PriceBook, usd
from limpet_lab.replay.bound_line import Line, cheapest, is_line
from limpet_lab.replay.requests import ReplayedRequest
from limpet_lab.replay.sellers import FIRST_BYTE_S, PROMPT_TOKENS_PER_S, SellerSpec
from limpet_lab.replay.trace import BLOCK_TOKENS
from limpet_lab.sim.cache import PrefixCache, Reading

_MOST_TURNS: Final = 300
"""Of a conversation whose cheapest routing is searched for."""
_MOST_PROVIDERS: Final = 8
"""Beyond these groups are not looked at: 2^n sets take too long, and the caches are generous from the beginning."""


@dataclass(frozen=True, slots=True)
class Bound:
    """What no routing can be cheaper than."""

    usd: float
    choices: Mapping[int, str] = field(repr=False)
    """By request: the provider that the bound has it served by."""


class HindsightRules:
    """The bound's choices as a `ReplayedRules`: what they really cost."""

    def __init__(self, choices: Mapping[int, str], names: Sequence[str]) -> None:
        self._choices = choices
        self._names = names

    async def order(self, request: ReplayedRequest, now_s: float) -> Sequence[str]:
        """See `ReplayedRules`."""
        chosen = self._choices.get(request.number, "")
        return (chosen, *(name for name in self._names if name != chosen)) if chosen else self._names

    async def ended(self, request: ReplayedRequest, tried: object, now_s: float) -> None:
        """See `ReplayedRules`."""


def lower_bound(requests: Sequence[ReplayedRequest], specs: Sequence[SellerSpec]) -> Bound:
    """The bound for these requests at these providers."""
    costs = _Costs(requests, specs)
    groups = len(specs) <= _MOST_PROVIDERS
    total, choices = _divided(list(requests), 0, costs) if groups else _alone(requests, costs)
    names = [spec.name for spec in specs]
    return Bound(total, {number: names[place] for number, place in choices.items()})


class _Costs:
    """The least cost of each request at each provider."""

    def __init__(self, requests: Sequence[ReplayedRequest], specs: Sequence[SellerSpec]) -> None:
        self._specs = specs
        self._books = [PriceBook(spec.model) for spec in specs]
        self.ttls_s = [inf if spec.rules.ttl_seconds is None else spec.rules.ttl_seconds for spec in specs]
        self.least_blocks = [-(-spec.rules.min_tokens // BLOCK_TOKENS) for spec in specs]
        begin_s = requests[0].at_s if requests else 0.0
        self.open = [[p for p, spec in enumerate(specs) if not spec.fails(request, begin_s)] for request in requests]
        """By request: the providers that would answer it."""
        self._found = [_found_in_all(requests, spec) for spec in specs]
        self.generous = [
            [self.at(p, request, self._found[p][request.number]) for p in range(len(specs))] for request in requests
        ]

    def at(self, p: int, request: ReplayedRequest, cached: int) -> float:
        """At provider p with no more than so many tokens cached."""
        spec, price = self._specs[p], self._books[p].at(request.prompt_tokens, request.at_s)
        if cached < spec.rules.min_tokens or price.cache_read > price.cache_write:
            cached = 0
        return usd(price, request.prompt_tokens, cached, request.output_tokens, written=spec.keeps(request))

    def cold(self, p: int, request: ReplayedRequest, head_blocks: int) -> float:
        """At provider p if it has no more of the prompt than its first blocks."""
        return self.at(p, request, min(self._found[p][request.number], head_blocks * BLOCK_TOKENS))

    def saved(self, requests: Sequence[ReplayedRequest]) -> list[list[float]]:
        """By request and provider: what one more cached block saves there at most, then or later."""
        most = [0.0] * len(self._books)
        from_the_end: list[list[float]] = []
        for request in reversed(requests):
            prices = [book.at(request.prompt_tokens, request.at_s) for book in self._books]
            block = BLOCK_TOKENS * 1e-6
            most = [
                max(so_far, block * (price.cache_write - price.cache_read))
                for so_far, price in zip(most, prices, strict=True)
            ]
            from_the_end.append(most)
        return from_the_end[::-1]


def _found_in_all(requests: Sequence[ReplayedRequest], spec: SellerSpec) -> list[int]:
    """What each request finds in a cache that has seen every request, each as early as can be."""
    cache = PrefixCache(spec.rules)
    begun: list[tuple[float, int, Reading]] = []
    found: list[int] = []
    for request in requests:
        while begun and begun[0][0] <= request.at_s:
            first_byte_s, number, reading = heappop(begun)
            cache.write(reading, requests[number].at_s, first_byte_s)
        reading = cache.read_steps(request.blocks, request.prompt_tokens, request.at_s)
        found.append(reading.cached)
        first_byte_s = FIRST_BYTE_S + (request.prompt_tokens - reading.cached) / PROMPT_TOKENS_PER_S
        heappush(begun, (request.at_s + first_byte_s, request.number, reading))
    return found


_Choices = dict[int, int]


def _divided(requests: list[ReplayedRequest], head_blocks: int, costs: _Costs) -> tuple[float, _Choices]:
    """The bound for requests of which no other has anything beyond their first `head_blocks`."""
    if len(requests) < 2:
        return _alone(requests, costs)
    shared = _shared_blocks(requests, head_blocks)
    as_one = _as_group(requests, head_blocks, costs) if shared > head_blocks else None
    parts: dict[int, list[ReplayedRequest]] = defaultdict(list)
    ending: list[ReplayedRequest] = []
    for request in requests:
        if len(request.blocks) > shared:
            parts[request.blocks[shared]].append(request)
        else:
            ending.append(request)
    if as_one is not None and sum(len(part) > 1 for part in parts.values()) < 2:
        return as_one
    total, choices = _alone(ending, costs)
    for part in parts.values():
        part_usd, part_choices = _divided(part, shared, costs)
        total += part_usd
        choices |= part_choices
    return as_one if as_one is not None and as_one[0] >= total else (total, choices)


def _shared_blocks(requests: Sequence[ReplayedRequest], from_block: int) -> int:
    """How many blocks all of them begin with; the first `from_block` are known to be the same."""
    first = requests[0].blocks
    shared = min(len(request.blocks) for request in requests)
    for request in requests:
        while shared > from_block and request.blocks[shared - 1] != first[shared - 1]:
            shared -= 1
    return shared


def _alone(requests: Sequence[ReplayedRequest], costs: _Costs) -> tuple[float, _Choices]:
    """Each at its best, whoever has what."""
    total, choices = 0.0, {}
    for request in requests:
        if costs.open[request.number]:
            generous = costs.generous[request.number]
            best = min(costs.open[request.number], key=generous.__getitem__)
            choices[request.number] = best
            total += generous[best]
    return total, choices


def _as_group(requests: Sequence[ReplayedRequest], head_blocks: int, costs: _Costs) -> tuple[float, _Choices]:
    """The best bound for a group as one."""
    if len(requests) > _MOST_TURNS:
        return _as_one(requests, head_blocks, costs)
    shared = [
        [_in_common(request, earlier, head_blocks) for earlier in requests[:turn]]
        for turn, request in enumerate(requests)
    ]
    if not is_line(shared):
        return _as_one(requests, head_blocks, costs)
    total, way = cheapest(
        Line(
            [request.at_s for request in requests],
            shared,
            [costs.open[request.number] for request in requests],
            lambda turn, p, blocks: costs.cold(p, requests[turn], blocks),
            [costs.generous[request.number] for request in requests],
            head_blocks,
            costs.ttls_s,
            [len(request.blocks) for request in requests],
            costs.saved(requests),
            costs.least_blocks,
        )
    )
    return total, {request.number: p for request, p in zip(requests, way, strict=True) if p >= 0}


def _in_common(request: ReplayedRequest, other: ReplayedRequest, from_block: int) -> int:
    """How many blocks both begin with; the first `from_block` are known to be the same."""
    mine, theirs = request.blocks, other.blocks
    low, high = from_block, min(len(mine), len(theirs))
    while low < high:  # a block stands for all before it, too
        middle = (low + high + 1) // 2
        if mine[middle - 1] == theirs[middle - 1]:
            low = middle
        else:
            high = middle - 1
    return low


def _as_one(requests: Sequence[ReplayedRequest], head_blocks: int, costs: _Costs) -> tuple[float, _Choices]:
    """The least sum over the sets of providers that have served some of the group."""
    least: dict[int, float] = {0: 0.0}
    came_from: list[dict[int, tuple[int, int]]] = []
    before_s = -inf
    for request in requests:
        alive = sum(1 << p for p, ttl_s in enumerate(costs.ttls_s) if request.at_s - before_s < ttl_s)
        before_s = request.at_s
        after: dict[int, float] = {}
        how: dict[int, tuple[int, int]] = {}
        generous, choices = costs.generous[request.number], costs.open[request.number]
        cold = {p: costs.cold(p, request, head_blocks) for p in choices}
        for served, so_far in least.items():
            for p in choices or (-1,):
                bit = 1 << p if p >= 0 else 0
                cost = 0.0 if p < 0 else generous[p] if served & alive & bit else cold[p]
                now = (served & alive) | bit
                if so_far + cost < after.get(now, inf):
                    after[now], how[now] = so_far + cost, (served, p)
        least = after
        came_from.append(how)
    end = min(least, key=least.__getitem__)
    total, chosen = least[end], {}
    for request, how in zip(reversed(requests), reversed(came_from), strict=True):
        end, p = how[end]
        if p >= 0:
            chosen[request.number] = p
    return total, chosen
