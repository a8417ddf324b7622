"""From measured turns to the figures of `limpet bench growth`: pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.bench.growth_gateways import Dimension
from limpet_lab.bench.latency_report import number_of
from limpet_lab.bench.ratios import middle_of


@dataclass(frozen=True, slots=True)
class GrowthTurn:
    """One turn of a gateway under load: what it did by many connections, and then by one."""

    rps: float
    p99_ms: float
    p99_one_ms: float
    """By one connection."""
    envoy_us: float
    extproc_us: float
    """CPU a request, by many connections."""
    requests: int
    """Of both."""

    def figures(self) -> dict[str, float]:
        """By their keys in JSON."""
        return {key: getattr(self, key) for key in FIGURES}

    def of(self, first: "GrowthTurn") -> dict[str, float]:
        """Its figures over those of another turn."""
        cpu = (self.envoy_us + self.extproc_us) / (first.envoy_us + first.extproc_us)
        return {**{key: getattr(self, key) / getattr(first, key) for key in JUDGED}, "cpu": cpu}


FIGURES: Final = {
    "rps": ("req/s", ",.0f"),
    "p99_ms": ("p99 ms", ".1f"),
    "p99_one_ms": ("p99 ms of one", ".2f"),
    "envoy_us": ("Envoy µs", ".0f"),
    "extproc_us": ("ext_proc µs", ".0f"),
}
JUDGED: Final = {"rps": "requests/s", "p99_ms": "p99", "p99_one_ms": "p99 of one connection"}
WORSE_BY: Final = 0.10
"""So much worse the last value of a dimension may be than the first, but not as much as that."""


@dataclass(frozen=True, slots=True)
class GrowthBar:
    """What must hold of the ratio of the last value to the first."""

    key: str
    limit: float
    above: bool

    def holds(self, ratio: float) -> bool:
        """Whether the ratio is on the right side."""
        return ratio > self.limit if self.above else ratio < self.limit


def bars_of(dimension: Dimension) -> tuple[GrowthBar, ...]:
    """Workers must bring more requests/s; of anything else, more must cost neither these nor time."""
    if dimension == Dimension.WORKERS:
        return (GrowthBar("rps", 1.0, above=True),)
    return (
        GrowthBar("rps", 1 - WORSE_BY, above=True),
        GrowthBar("p99_ms", 1 + WORSE_BY, above=False),
        GrowthBar("p99_one_ms", 1 + WORSE_BY, above=False),
    )


def summary(
    dimension: Dimension, rounds: Sequence[Mapping[int, GrowthTurn]], decided: Sequence[Mapping[str, int]]
) -> dict[str, Any]:
    """The figures of a dimension, as JSON has them; each round has a turn of every value, the first value first.

    What else the machine does concerns all of a round, so ratios are taken inside it. `decided`: by value, how many
    requests were decided for which reason.
    """
    first = next(iter(rounds[0]))
    values = []
    for value, decisions in zip(rounds[0], decided, strict=True):
        turns = [each[value] for each in rounds]
        entry: dict[str, Any] = {"value": value, "sticky": share_found(decisions), "decisions": {**decisions}}
        for key in FIGURES:
            entry[key] = median(turn.figures()[key] for turn in turns)
        if value != first:
            ratios = [each[value].of(each[first]) for each in rounds]
            entry["ratio"] = {key: middle_of(ratio[key] for ratio in ratios) for key in ratios[0]}
        values.append(entry)
    last = values[-1]["ratio"]
    held = {bar.key: bar.holds(last[bar.key]["median"]) for bar in bars_of(dimension)}
    requests = sum(turn.requests for each in rounds for turn in each.values())
    return {"values": values, "held": held, "rounds": len(rounds), "requests": requests}


def share_found(decisions: Mapping[str, int]) -> float:
    """Of these requests, those that found their conversation. Raises ZeroDivisionError without any."""
    found = sum(count for reason, count in decisions.items() if reason.startswith("sticky."))
    return found / sum(decisions.values())


def table(dimension: Dimension, found: Mapping[str, Any]) -> Table:
    """The figures of a dimension, and below each their ratio to those of the first value."""
    known = ", ".join(f"{100 * entry['sticky']:.1f} %" for entry in found["values"])
    shown = Table(
        title=f"{dimension}: {found['rounds']} rounds, {found['requests']:,} requests",
        caption=f"conversation found: {known}",
        box=SIMPLE,
        padding=0,
    )
    shown.add_column(dimension, justify="right", no_wrap=True)
    for title, _ in FIGURES.values():
        shown.add_column(title, justify="right", no_wrap=True)
    for entry in found["values"]:
        shown.add_row(f"{entry['value']:,}", *(number_of(entry[key], shape) for key, (_, shape) in FIGURES.items()))
        if "ratio" in entry:
            ratios = [f"× {entry['ratio'][key]['median']:.2f}" for key in JUDGED]
            shown.add_row("", *ratios, f"both × {entry['ratio']['cpu']['median']:.2f}", "", end_section=True)
    return shown


def bars(growth: Mapping[Dimension, Mapping[str, Any]]) -> Table:
    """What must hold and whether it did."""
    shown = Table(
        title="what must hold, of the last value over the first",
        caption="between: where the median of the rounds' ratios lies with 95 % confidence",
        box=SIMPLE,
    )
    for title in ("what", "bar", "measured", "between", ""):
        shown.add_column(title, justify="left" if title == "what" else "right")
    for dimension, found in growth.items():
        first, last = (f"{found['values'][at]['value']:,}" for at in (0, -1))
        for bar in bars_of(dimension):
            ratio = found["values"][-1]["ratio"][bar.key]
            shown.add_row(
                f"{JUDGED[bar.key]}, {first} to {last} {dimension}",
                f"{'>' if bar.above else '<'} {bar.limit:.2f}",
                f"{ratio['median']:.2f}",
                f"{ratio['low']:.2f} to {ratio['high']:.2f}",
                "holds" if found["held"][bar.key] else "missed",
            )
    return shown
