"""The first few of an order of candidates, as `pick.spread` has it of all, from a pool and the costs of its kinds.

An order that is tried holds a few providers. So each kind's cost is reckoned once, and of its candidates only those are
looked at that may be among these few.
"""

from collections.abc import Collection, Mapping, Sequence
from heapq import nsmallest
from math import inf, log
from typing import TypeAlias

from limpet_extproc.decision.draws import KEPT, Draws
from limpet_extproc.decision.pick import near_limit, unit
from limpet_extproc.decision.pool import Pool, PoolEntry
from limpet_extproc.decision.snapshot import Candidate

_Drawn: TypeAlias = tuple[float, str]
"""Less than another one if it comes before that."""


def first_ranked(
    pool: Pool,
    entries: Sequence[PoolEntry],
    usd: Sequence[float],
    scores: Sequence[float],
    within_percent: float,
    seed: bytes,
    apart: Collection[str],
    most: int,
    draws: Draws,
) -> list[str]:
    """The first `most` at least of `pick.spread`, or all.

    `entries` are those of the pool without the ones that are `apart`, with what each of them costs and scores.
    """
    limit = near_limit(scores, within_percent)
    near = [(entry, price) for entry, price, score in zip(entries, usd, scores, strict=True) if score <= limit]
    count = sum([entry.size for entry, _ in near])
    ranked = _drawn(pool, near, seed, apart, most, draws) if count > 1 else [near[0][0].candidate.provider]
    missing = most - len(ranked)
    if missing > 0 and len(near) < len(entries):
        ranked += _cheapest(pool, entries, scores, limit, apart, missing)
    return ranked


def first_drawn(
    pool: Pool,
    entries: Sequence[PoolEntry],
    usd: Sequence[float],
    scores: Sequence[float],
    within_percent: float,
    seed: bytes,
    apart: Collection[str],
    most: int,
    draws: Draws,
) -> list[str] | None:
    """The same from a sample of the pool's entries (`Pool.sample`) with all that are drawn first.

    None: it takes others to tell.
    """
    limit = near_limit(scores, within_percent)
    near = [(entry, price) for entry, price, score in zip(entries, usd, scores, strict=True) if score <= limit]
    alone = [_one(seed, entry.candidate, _weight(entry.candidate, price)) for entry, price in near if entry.kind < 0]
    weights = {entry.kind: _weight(entry.candidate, price) for entry, price in near if entry.kind >= 0}
    least = min([price for entry, price in zip(entries, usd, strict=True) if entry.kind >= 0], default=0.0)
    if not least:
        return None
    return _by_draws(pool, weights, pool.most_weight / (least * least), alone, seed, apart, most, draws)


def _cheapest(
    pool: Pool, entries: Sequence[PoolEntry], scores: Sequence[float], above: float, apart: Collection[str], most: int
) -> list[str]:
    """The first of those that are no near-equals: the lowest scores, equal ones by name."""
    far = [(score, entry) for entry, score in zip(entries, scores, strict=True) if score > above]
    if len(far) == 1:  # where one is warm, and all others cost the same
        return pool.first_names(far[0][1], apart, most)
    lowest = sorted([score for score, _ in far])[:most][-1]
    found: list[tuple[float, str]] = []
    for score, entry in far:
        if score <= lowest:
            found += [(score, name) for name in pool.first_names(entry, apart, most)]
    return [name for _, name in nsmallest(most, found)]


def _drawn(
    pool: Pool,
    near: Sequence[tuple[PoolEntry, float]],
    seed: bytes,
    apart: Collection[str],
    most: int,
    draws: Draws,
) -> list[str]:
    """The first of the near-equals: those with the greatest pull."""
    alone = [_one(seed, entry.candidate, _weight(entry.candidate, usd)) for entry, usd in near if entry.kind < 0]
    weights = {entry.kind: _weight(entry.candidate, usd) for entry, usd in near if entry.kind >= 0}
    if sum([entry.size for entry, _ in near]) > KEPT:
        heaviest = max(weights.values(), default=0.0)
        found = _by_draws(pool, weights, heaviest, alone, seed, apart, most, draws)
        if found is not None:
            return found
    for entry, _ in near:
        if entry.kind >= 0:
            weight = weights[entry.kind]
            alone += [_one(seed, each, weight) for _, each in pool.alike(entry, apart)]
    return [name for _, name in nsmallest(most, alone)]


def _by_draws(
    pool: Pool,
    weights: Mapping[int, float],
    heaviest: float,
    alone: Sequence[_Drawn],
    seed: bytes,
    apart: Collection[str],
    most: int,
    draws: Draws,
) -> list[str] | None:
    """The same by the highest numbers alone; None: others may come before.

    No candidate with a lower number has more pull than the heaviest would have with this one.
    """
    found = sorted(alone)[:most]
    lane, kind_of = pool.lane.candidates, pool.kind_of
    for place in draws.first_places(pool.lane, seed):
        candidate = lane[place]
        drawn = unit(seed + candidate.seed)
        if len(found) >= most and -_pull(drawn, heaviest) > found[-1][0]:
            return [name for _, name in found]
        name = candidate.provider
        weight = weights.get(kind_of.get(name, -1))
        if weight is not None and name not in apart:
            found = sorted([*found, (-_pull(drawn, weight), name)])[:most]
    return None


def _weight(candidate: Candidate, usd: float) -> float:
    return candidate.weight / (usd * usd)


def _one(seed: bytes, candidate: Candidate, weight: float) -> _Drawn:
    return -_pull(unit(seed + candidate.seed), weight), candidate.provider


def _pull(drawn: float, weight: float) -> float:
    return inf if drawn >= 1.0 else weight / -log(drawn)
