"""Third step of a decision: an order of the candidates, from their scores."""

from collections.abc import Iterable, Mapping, Sequence
from math import inf, log
from typing import Final

from xxhash import xxh3_64_intdigest

from limpet_extproc.decision.filter import Filtered
from limpet_extproc.decision.snapshot import Candidate

_APART: Final = b"share "
"""Keeps the numbers of shares apart from those of the spread, which are high for whom a provider has won."""


def spread(
    candidates: Sequence[Candidate], usd: Sequence[float], scores: Sequence[float], within_percent: float, seed: bytes
) -> list[str]:
    """Near-equals of the best first, spread by weighted rendezvous on the seed; after them the rest, best first."""
    limit = near_limit(scores, within_percent)
    near: list[tuple[Candidate, float]] = []
    rest: list[tuple[float, str]] = []
    for candidate, price, score in zip(candidates, usd, scores, strict=True):
        if score <= limit:
            near.append((candidate, price))
        else:
            rest.append((score, candidate.provider))
    rest.sort()
    ranked = [name for _, name in rest]
    if len(near) == 1:  # nothing to draw
        return [near[0][0].provider, *ranked]
    drawn = sorted([(-_pull(seed, candidate, price), candidate.provider) for candidate, price in near])
    return [*[name for _, name in drawn], *ranked]


def near_limit(scores: Sequence[float], within_percent: float) -> float:
    """The highest score of a near-equal of the best."""
    return min(scores) * (1 + within_percent / 100)


def best_first(candidates: Sequence[Candidate], scores: Sequence[tuple[float, ...]]) -> list[str]:
    """The lowest score first, equal ones by name."""
    return [name for _, name in sorted(zip(scores, (candidate.provider for candidate in candidates), strict=True))]


def in_order(
    first: Iterable[str], ranked: Iterable[str], filtered: Filtered | None = None, degraded: Iterable[str] = ()
) -> tuple[str, ...]:
    """Each once: `first`, then `ranked`, those that drain, `degraded`, and as the last resort those that are out.

    `filtered`: None: the order needs nobody of the latter.
    """
    if filtered is None:
        return tuple(dict.fromkeys((*first, *ranked)))
    draining = [candidate.provider for candidate in filtered.draining]
    return tuple(dict.fromkeys((*first, *ranked, *draining, *degraded, *filtered.out)))


def held_back(ranked: Sequence[str], shares: Mapping[str, float], seed: bytes) -> list[str]:
    """The order with those last that may have only a share of new conversations and have no right to this one.

    Which conversations a provider gets depends on nothing but their seeds and its share, so it is the same on all
    replicas; a greater share adds to them, and moves no other conversation.
    """
    held = {name for name in ranked if name in shares and unit(_APART + name.encode() + seed) > shares[name]}
    return [*(name for name in ranked if name not in held), *(name for name in ranked if name in held)]


def _pull(seed: bytes, candidate: Candidate, usd: float) -> float:
    """Weighted rendezvous: the highest wins, in proportion to weight over price squared."""
    drawn = unit(seed + candidate.seed)
    weight = candidate.weight / (usd * usd)
    return inf if drawn >= 1.0 else weight / -log(drawn)


def unit(text: bytes) -> float:
    """A number above 0 and at most 1, the same for the same text on all replicas."""
    return (xxh3_64_intdigest(text) + 1) / 2.0**64
