"""What is shown of each fault, whether it was played on the bed or simulated. Pure."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any, Final

from limpet_lab.bench.faults.campaign import Played
from limpet_lab.bench.faults.flaky import AlwaysTheSame, FlakyRun, OneWorker, load, run

FLAKY_NAME: Final = "fails_every_second_request"
MAX_SWITCHES: Final = 2


@dataclass(frozen=True, slots=True)
class FaultRow:
    """One fault's figures."""

    name: str
    requests: int
    client_errors: int
    extra_attempts: int
    cached_before: float | None
    cached_during: float | None
    cached_after: float | None
    missed: tuple[str, ...]
    """The bars that were missed, each with what was seen."""
    moved_s: float | None = None
    sticky_again_s: float | None = None
    added_p99_ms: float | None = None
    further: Mapping[str, Any] = field(default_factory=dict)
    """Figures of this fault that have no column."""

    @property
    def held(self) -> bool:
        """Whether all bars were held."""
        return not self.missed


def row_of(played: Played) -> FaultRow:
    """Of a fault that was played on the bed."""
    figures, timeline, move = played.outcome.figures, played.outcome.timeline, played.outcome.figures.move
    return FaultRow(
        played.fault.name,
        figures.requests,
        len(figures.errors),
        figures.extra_attempts,
        figures.cached_before,
        figures.cached_during,
        figures.cached_after,
        tuple(f"{bar.text}: {seen}" for bar, seen in played.missed),
        None if move is None else move.moved_s,
        figures.sticky_again_s,
        figures.added_p99_ms,
        {
            "provider": played.outcome.victim,
            "begun_s": timeline.begun_s,
            "ended_s": timeline.ended_s,
            "extra_attempts_of_one": figures.extra_attempts_of_one,
            "told_by": None if move is None else move.told_by,
            "trials": None if move is None else move.trials,
            "unremembered_of_one": figures.unremembered_of_one,
            "unremembered_twice": figures.unremembered_twice,
            "astray": figures.astray,
            "later_p99_ms": figures.later_p99_ms,
            "undecided": figures.undecided,
            "decisions": figures.decisions,
            "errors": sorted({each.error for each in figures.errors}),
            "notes": timeline.notes,
        },
    )


def flaky_row(seed: int) -> FaultRow:
    """Of a provider that fails every second request for ten simulated minutes."""
    turns = load(seed)
    ours, other = asyncio.run(run(OneWorker(), turns)), asyncio.run(run(AlwaysTheSame(), turns))
    return row_of_flaky(ours, other)


def row_of_flaky(ours: FlakyRun, other: FlakyRun) -> FaultRow:
    """`other`: of a router that always tries this provider first."""
    missed = []
    if ours.client_errors:
        missed.append(f"no client sees an error: {ours.client_errors} did")
    if ours.most_switches > MAX_SWITCHES:
        missed.append(f"at most {MAX_SWITCHES} switches a conversation: one had {ours.most_switches}")
    if ours.cached_share <= other.cached_share:
        shares = f"{ours.cached_share:.3f} and {other.cached_share:.3f}"
        missed.append(f"cached share above that of a router which always tries it first: {shares}")
    return FaultRow(
        FLAKY_NAME,
        ours.requests,
        ours.client_errors,
        ours.extra_attempts,
        None,
        ours.cached_share,
        None,
        tuple(missed),
        further={
            "switches_of_one": ours.most_switches,
            "always_first": {"cached_share": other.cached_share, "extra_attempts": other.extra_attempts},
        },
    )


def as_json(rows: list[FaultRow], seed: int) -> dict[str, Any]:
    """The figures for programs; the keys are in docs/benchmarks.md."""
    faults = [
        {
            "name": row.name,
            "requests": row.requests,
            "client_errors": row.client_errors,
            "extra_attempts": row.extra_attempts,
            "moved_s": row.moved_s,
            "sticky_again_s": row.sticky_again_s,
            "cached_share": {"before": row.cached_before, "during": row.cached_during, "after": row.cached_after},
            "held": row.held,
            "missed": list(row.missed),
            "added_p99_ms": row.added_p99_ms,
            **row.further,
        }
        for row in rows
    ]
    total = sum(row.client_errors for row in rows)
    result: dict[str, Any] = _rounded({"faults": faults, "client_errors_total": total, "seed": seed})
    return result


def _rounded(value: Any) -> Any:
    """JSON has no infinity, and nobody needs more than three places."""
    match value:
        case float():
            return round(value, 3) if isfinite(value) else None
        case Mapping():
            return {name: _rounded(each) for name, each in value.items()}
        case list():
            return [_rounded(each) for each in value]
        case _:
            return value
