"""Third step of a decision: an order of the candidates, from their scores."""

from collections.abc import Iterable, Sequence
from math import inf, log

from xxhash import xxh3_64_intdigest

from limpet_extproc.decision.filter import Filtered
from limpet_extproc.decision.snapshot import Candidate


def spread(
    candidates: Sequence[Candidate], usd: Sequence[float], scores: Sequence[float], within_percent: float, seed: bytes
) -> list[str]:
    """Near-equals of the best first, spread by weighted rendezvous on the seed; after them the rest, best first."""
    limit = min(scores) * (1 + within_percent / 100)
    near: list[tuple[float, str]] = []
    rest: list[tuple[float, str]] = []
    for candidate, price, score in zip(candidates, usd, scores, strict=True):
        if score <= limit:
            near.append((-_pull(seed, candidate, price), candidate.provider))
        else:
            rest.append((score, candidate.provider))
    near.sort()
    rest.sort()
    return [name for _, name in (*near, *rest)]


def best_first(candidates: Sequence[Candidate], scores: Sequence[float]) -> list[str]:
    """The lowest score first, equal ones by name."""
    return [name for _, name in sorted(zip(scores, (candidate.provider for candidate in candidates), strict=True))]


def in_order(first: Iterable[str], ranked: Iterable[str], filtered: Filtered) -> tuple[str, ...]:
    """Each once: `first`, then `ranked`, then those that drain, and last those that are out."""
    draining = (candidate.provider for candidate in filtered.draining)
    return tuple(dict.fromkeys((*first, *ranked, *draining, *filtered.out)))


def _pull(seed: bytes, candidate: Candidate, usd: float) -> float:
    """Weighted rendezvous: the highest wins, in proportion to weight over price squared."""
    unit = (xxh3_64_intdigest(seed + candidate.seed) + 1) / 2.0**64
    weight = candidate.weight / (usd * usd)
    return inf if unit >= 1.0 else weight / -log(unit)
