"""What the rounds of the Infron test add up to: pure arithmetic over calls and their bills.

As in the article only the second call of a round is read; the first one has nothing to hit.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class AnsweredCall:
    """One answered request, in the tokens its usage reported."""

    id: str
    """The answer's own id, by which it is found in the seller's ledger."""
    prompt: int | None
    """None: unreported."""
    cached: int | None
    """None: unreported, which is not the same as nothing cached."""
    output: int | None


@dataclass(frozen=True, slots=True)
class Round:
    """The same request twice."""

    first: AnsweredCall
    second: AnsweredCall


@dataclass(frozen=True, slots=True)
class Bill:
    """What one call cost, in US dollars."""

    usd: float
    input_usd: float
    """Without the output tokens."""


@dataclass(frozen=True, slots=True)
class PerMillion:
    """US dollars per million tokens."""

    input: float
    cache_read: float
    output: float

    def bill(self, call: AnsweredCall) -> Bill | None:
        """None when the call did not report what is needed."""
        if call.prompt is None or call.cached is None or call.output is None:
            return None
        spent = ((call.prompt - call.cached) * self.input + call.cached * self.cache_read) / 1e6
        return Bill(spent + call.output * self.output / 1e6, spent)


@dataclass(frozen=True, slots=True)
class Score:
    """One arm of the test. Rates are over the rounds that reported; None means unknown."""

    rounds: int
    rounds_hit: int
    """Rounds whose second call read anything from a cache."""
    rounds_unreported: int
    """Rounds whose second call did not report it; neither hits nor misses."""
    call_hit_rate: float | None
    token_hit_rate: float | None
    """Cached tokens over prompt tokens."""
    avg_cached_tokens: float | None
    cost_usd: float | None
    """All second calls, output included."""
    input_cost_usd: float | None
    """All second calls, prompts only."""
    cost_both_calls_usd: float | None

    def as_json(self) -> dict[str, Any]:
        """The keys that docs/benchmarks.md documents."""
        return {name: getattr(self, name) for name in self.__slots__}


def score(rounds: Sequence[Round], bills: Mapping[str, Bill]) -> Score:
    """Add up; `bills` by the id of the call. One call without a bill leaves the sum unknown, never smaller."""
    usage = [(r.second.prompt, r.second.cached) for r in rounds]
    reported = [(prompt, cached) for prompt, cached in usage if prompt is not None and cached is not None]
    hits = sum(cached > 0 for _, cached in reported)
    prompts, reads = sum(prompt for prompt, _ in reported), sum(cached for _, cached in reported)
    second = [bills.get(r.second.id) for r in rounds]
    first = [bills.get(r.first.id) for r in rounds]
    second_usd, first_usd = _sum(b and b.usd for b in second), _sum(b and b.usd for b in first)
    return Score(
        rounds=len(rounds),
        rounds_hit=hits,
        rounds_unreported=len(rounds) - len(reported),
        call_hit_rate=hits / len(reported) if reported else None,
        token_hit_rate=reads / prompts if prompts else None,
        avg_cached_tokens=reads / len(reported) if reported else None,
        cost_usd=second_usd,
        input_cost_usd=_sum(b and b.input_usd for b in second),
        cost_both_calls_usd=None if second_usd is None or first_usd is None else second_usd + first_usd,
    )


def _sum(amounts: Any) -> float | None:
    total = 0.0
    for amount in amounts:
        if amount is None:
            return None
        total += amount
    return total


def ratio(other: Score, ours: Score, what: str = "cost_usd") -> float | None:
    """How many times as much the other one cost."""
    theirs, mine = getattr(other, what), getattr(ours, what)
    return theirs / mine if theirs is not None and mine else None
