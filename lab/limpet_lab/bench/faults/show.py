"""The campaign for people: a line when a fault has been played, and a table at the end; and its figures as JSON."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.bench.faults.campaign import Played


def as_json(played: Sequence[Played], seed: int) -> dict[str, Any]:
    """The figures for programs; the keys are in docs/benchmarks.md."""
    faults = [_as_json(each) for each in played]
    return {"faults": faults, "client_errors_total": sum(each["client_errors"] for each in faults), "seed": seed}


def _as_json(played: Played) -> dict[str, Any]:
    figures, timeline = played.outcome.figures, played.outcome.timeline
    move = figures.move
    return {
        "name": played.fault.name,
        "requests": figures.requests,
        "client_errors": len(figures.errors),
        "extra_attempts": figures.extra_attempts,
        "moved_s": None if move is None else round(move.moved_s, 3),
        "sticky_again_s": _rounded(figures.sticky_again_s),
        "cached_share": {
            "before": _rounded(figures.cached_before),
            "during": _rounded(figures.cached_during),
            "after": _rounded(figures.cached_after),
        },
        "held": played.held,
        "missed": [f"{bar.text}: {seen}" for bar, seen in played.missed],
        "provider": played.outcome.victim,
        "begun_s": _rounded(timeline.begun_s),
        "ended_s": _rounded(timeline.ended_s),
        "extra_attempts_of_one": figures.extra_attempts_of_one,
        "told_by": None if move is None else move.told_by,
        "trials": None if move is None else move.trials,
        "unremembered_of_one": figures.unremembered_of_one,
        "astray": figures.astray,
        "added_p99_ms": _rounded(figures.added_p99_ms),
        "undecided": figures.undecided,
        "decisions": figures.decisions,
        "errors": sorted({each.error for each in figures.errors}),
        "notes": {name: _finite(value) for name, value in timeline.notes.items()},
    }


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _finite(value: float | str) -> float | str | None:
    if isinstance(value, str):
        return value
    return round(value, 3) if isfinite(value) else None


def line(played: Played) -> str:
    """What became of one fault."""
    if played.held:
        return f"{played.fault.name}: held"
    return "\n".join([f"{played.fault.name}: MISSED", *(f"    {bar.text}: {seen}" for bar, seen in played.missed)])


def table(played: Sequence[Played]) -> Table:
    """All faults."""
    shown = Table(box=SIMPLE)
    shown.add_column("fault")
    for name in ("requests", "errors", "extra\nattempts", "moved\ns", "sticky\nagain s", "cached %\nbefore", "during",
                 "after", "added\np99 ms", ""):  # fmt: skip
        shown.add_column(name, justify="right")
    for each in played:
        figures = each.outcome.figures
        shares = (figures.cached_before, figures.cached_during, figures.cached_after)
        shown.add_row(
            each.fault.name,
            str(figures.requests),
            str(len(figures.errors)),
            str(figures.extra_attempts),
            "" if figures.move is None else f"{figures.move.moved_s:.2f}",
            f"{figures.sticky_again_s:.1f}",
            *("" if share is None else f"{100 * share:.0f}" for share in shares),
            "" if figures.added_p99_ms is None else f"{figures.added_p99_ms:.0f}",
            "held" if each.held else "[red]missed[/]",
        )
    return shown
