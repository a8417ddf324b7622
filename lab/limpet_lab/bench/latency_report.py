"""From measured rounds to the numbers people read: pure, so that every number here can be checked by a table.

Targets of one round ran one right after the other, so what Limpet adds is taken pairwise inside a round, and the median
over the rounds is shown. A cell in which any request failed has no numbers, nor has what would be compared with it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, Final

from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.bench.latency_cell import Cell
from limpet_lab.bench.latency_load import SIZES
from limpet_lab.bench.latency_targets import TARGETS

Figures = dict[str, Any]

_ENVOY_OF: Final = {"direct": "upstream", "envoy": "envoy", "limpet": "limpet"}
"""Whose CPU time `cpu_us` is."""


@dataclass(frozen=True, slots=True)
class Bar:
    """What must hold of Limpet's cell: at most, or at least, this much."""

    size: str
    key: str
    limit: float
    unit: str
    words: str
    at_least: bool = False

    def holds(self, value: float) -> bool:
        """Whether the value is on the right side."""
        return value >= self.limit if self.at_least else value <= self.limit


BARS: Final = (
    Bar("12KB", "added_p50_ms", 1.0, " ms", "added p50 over a direct call, 12 KB"),
    Bar("100KB", "added_p50_ms", 1.3, " ms", "added p50 over a direct call, 100 KB"),
    Bar("12KB", "share_of_envoy", 0.14, "", "share of Envoy alone, 12 KB", at_least=True),
    Bar("100KB", "share_of_envoy", 0.12, "", "share of Envoy alone, 100 KB", at_least=True),
    Bar("12KB", "extproc_cpu_us", 300.0, " µs", "ext_proc CPU a request, 12 KB"),
    Bar("100KB", "extproc_rss_mb", 150.0, " MB", "memory of the ext_proc worker"),
)


def report(cells: Iterable[Cell]) -> Figures:
    """The results by target and size, in the shape that `limpet bench latency --json` writes."""
    by_place: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.round):
        by_place.setdefault((cell.target, cell.size), []).append(cell)
    return {
        target: {
            size: _entry(target, *(by_place.get((other, size), []) for other in (target, "direct", "envoy")))
            for size in SIZES
            if (target, size) in by_place
        }
        for target in TARGETS
    }


def _entry(target: str, cells: list[Cell], direct: list[Cell], envoy: list[Cell]) -> Figures:
    failed = sum(cell.failed for cell in cells)
    entry: Figures = {
        "p50_ms": middle(cells, lambda cell: cell.one.percentile_ms(50)),
        "p99_ms": middle(cells, lambda cell: cell.one.percentile_ms(99)),
        "rps": middle(cells, lambda cell: cell.many.rps),
        "cpu_us": middle(cells, lambda cell: cell.cpu_us(_ENVOY_OF[target])),
        "rss_mb": max(cell.rss_mb[_ENVOY_OF[target]] for cell in cells),
        "failed": failed,
    }
    if target != "direct":
        for percent in (50, 99):
            entry[f"added_p{percent}_ms"] = _added(cells, direct, percent)
    if target == "limpet":
        entry["share_of_envoy"] = _share(cells, envoy)
        entry["extproc_cpu_us"] = middle(cells, lambda cell: cell.cpu_us("extproc"))
        entry["extproc_rss_mb"] = max(cell.rss_mb["extproc"] for cell in cells)
    return entry


def _added(cells: list[Cell], direct: list[Cell], percent: float) -> float | None:
    return paired(cells, direct, lambda ours, base: ours.one.percentile_ms(percent) - base.one.percentile_ms(percent))


def _share(cells: list[Cell], envoy: list[Cell]) -> float | None:
    return paired(cells, envoy, lambda ours, base: ours.many.rps / base.many.rps)


def middle(cells: list[Cell], number: Callable[[Cell], float]) -> float | None:
    """The median of a number; None if a request failed."""
    return None if any(cell.failed for cell in cells) else round(median(map(number, cells)), 4)


def paired(ours: list[Cell], base: list[Cell], number: Callable[[Cell, Cell], float]) -> float | None:
    """The median of what two cells of one round give; None if a request of either failed."""
    if not base or any(cell.failed for cell in (*ours, *base)):
        return None
    by_round = {cell.round: cell for cell in base}
    return round(median(number(cell, by_round[cell.round]) for cell in ours), 4)


_COLUMNS: Final = (
    ("p50_ms", "p50 ms", ".3f"),
    ("p99_ms", "p99 ms", ".3f"),
    ("added_p50_ms", "+p50", "+.3f"),
    ("added_p99_ms", "+p99", "+.3f"),
    ("rps", "req/s", ",.0f"),
    ("share_of_envoy", "share", ".3f"),
    ("cpu_us", "Envoy µs", ".0f"),
    ("extproc_cpu_us", "ext µs", ".0f"),
    ("extproc_rss_mb", "MB", ".0f"),
)
"""Short titles: the table should fit a terminal of 80 columns."""


def table(result: Figures, about: str) -> Table:
    """Every number, by size of body and target. `about`: how it was measured, for the caption."""
    shown = Table(title="limpet bench latency", caption=about, caption_justify="left", box=SIMPLE, padding=0)
    shown.add_column("body", no_wrap=True)
    shown.add_column("target", no_wrap=True)
    for _, title, _ in _COLUMNS:
        shown.add_column(title, justify="right", no_wrap=True)
    for size in SIZES:
        for target in TARGETS:
            entry = result[target].get(size)
            if entry is not None:
                shown.add_row(size, target, *_row(entry), end_section=target == TARGETS[-1])
    return shown


def _row(entry: Figures) -> Sequence[str]:
    if entry["failed"]:
        return [f"failed ({entry['failed']})", *[""] * (len(_COLUMNS) - 1)]
    return [number_of(entry[key], shape) if key in entry else "" for key, _, shape in _COLUMNS]


def number_of(value: float | None, shape: str) -> str:
    """As it is shown in a table."""
    return "–" if value is None else format(value, shape)


def bars(result: Figures) -> Table:
    """What must hold and whether it did."""
    shown = Table(title="what must hold", box=SIMPLE)
    for title in ("what", "bar", "measured", ""):
        shown.add_column(title, justify="left" if title == "what" else "right")
    for bar in BARS:
        value = result["limpet"].get(bar.size, {}).get(bar.key)
        sign = "≥" if bar.at_least else "≤"
        outcome = "not measured" if value is None else "holds" if bar.holds(value) else "missed"
        shown.add_row(bar.words, f"{sign} {bar.limit:g}{bar.unit}", number_of(value, ".3g") + bar.unit, outcome)
    return shown
