"""`limpet bench latency --dialects`: Messages and Responses beside chat completions, in the same run.

The same conversations in the words of each API, the same gateway, the same upstream. What one API costs more than chat
is taken pairwise inside a round, and the median over the rounds is shown. JSON, times and CPU as in `latency`:

    {"chat" | "messages" | "responses": {"2KB" | "12KB" | "100KB": {
        "p50_ms", "p99_ms", "rps", "cpu_us", "extproc_cpu_us", "failed",
        "p50_of_chat", "rps_of_chat",
        "cpu_of_chat"  of Envoy and ext_proc; over those of chat in the same round (not in "chat")}}}
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final

from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.bench.latency_cell import CONNECTIONS, Cell, Place, take
from limpet_lab.bench.latency_load import CONVERSATIONS, DIALECTS, SIZES, write_bodies
from limpet_lab.bench.latency_report import Figures, middle, number_of, paired
from limpet_lab.bench.latency_targets import Targets
from limpet_lab.bench.latency_wrk import Load, run

WITHIN: Final = 0.1
"""So much slower than chat another API may be."""

_WARM_UP_S: Final = 1

Bodies = Mapping[tuple[str, str], Path]
"""Folders by dialect and size."""


def write_all(folder: Path) -> Bodies:
    """The same conversations for every API."""
    return {
        (dialect, size): write_bodies(folder / f"{dialect}-{size}", length, dialect=dialect)
        for dialect in DIALECTS
        for size, length in SIZES.items()
    }


async def measure(
    rounds: int, seconds: int, wrk: str, targets: Targets, bodies: Bodies, say: Callable[[str], None]
) -> list[Cell]:
    """All cells of all rounds, after a warm-up. Raises WrkError."""
    urls = {dialect: targets.urls["limpet"].replace(DIALECTS["chat"], path) for dialect, path in DIALECTS.items()}
    for (dialect, _), folder in bodies.items():
        await run(wrk, urls[dialect], Load(folder, CONVERSATIONS, CONNECTIONS, _WARM_UP_S))
    cells: list[Cell] = []
    names = tuple(DIALECTS)
    for number in range(rounds):
        turn = names[number % len(names) :] + names[: number % len(names)]
        for size in SIZES:
            for dialect in turn:
                place, folder = Place(number, size, dialect), bodies[dialect, size]
                cells.append(await take(place, urls[dialect], folder, seconds, wrk, targets))
        say(f"round {number + 1} of {rounds} done")
    return cells


def report(cells: Iterable[Cell]) -> Figures:
    """The results by dialect and size."""
    by_place: dict[tuple[str, str], list[Cell]] = {}
    for cell in sorted(cells, key=lambda cell: cell.round):
        by_place.setdefault((cell.target, cell.size), []).append(cell)
    return {
        dialect: {
            size: _entry(dialect, by_place[dialect, size], by_place.get(("chat", size), []))
            for size in SIZES
            if (dialect, size) in by_place
        }
        for dialect in DIALECTS
    }


def _entry(dialect: str, cells: list[Cell], chat: list[Cell]) -> Figures:
    entry: Figures = {
        "p50_ms": middle(cells, lambda cell: cell.one.percentile_ms(50)),
        "p99_ms": middle(cells, lambda cell: cell.one.percentile_ms(99)),
        "rps": middle(cells, lambda cell: cell.many.rps),
        "cpu_us": middle(cells, lambda cell: cell.cpu_us("limpet")),
        "extproc_cpu_us": middle(cells, lambda cell: cell.cpu_us("extproc")),
        "failed": sum(cell.failed for cell in cells),
    }
    if dialect != "chat":
        entry["p50_of_chat"] = paired(cells, chat, lambda a, b: a.one.percentile_ms(50) / b.one.percentile_ms(50))
        entry["rps_of_chat"] = paired(cells, chat, lambda a, b: a.many.rps / b.many.rps)
        entry["cpu_of_chat"] = paired(cells, chat, lambda a, b: _cpu_us(a) / _cpu_us(b))
    return entry


def _cpu_us(cell: Cell) -> float:
    return cell.cpu_us("limpet") + cell.cpu_us("extproc")


_COLUMNS: Final = (
    ("p50_ms", "p50 ms", ".3f"),
    ("p50_of_chat", "of chat", ".2f"),
    ("p99_ms", "p99 ms", ".3f"),
    ("rps", "req/s", ",.0f"),
    ("rps_of_chat", "of chat", ".2f"),
    ("cpu_us", "Envoy µs", ".0f"),
    ("extproc_cpu_us", "ext µs", ".0f"),
    ("cpu_of_chat", "of chat", ".2f"),
)


def table(result: Figures) -> Table:
    """Every number, by size of body and dialect."""
    shown = Table(title="limpet bench latency --dialects", box=SIMPLE, padding=0)
    shown.add_column("body", no_wrap=True)
    shown.add_column("API", no_wrap=True)
    for _, title, _ in _COLUMNS:
        shown.add_column(title, justify="right", no_wrap=True)
    for size in SIZES:
        for dialect in DIALECTS:
            if (entry := result[dialect].get(size)) is not None:
                shown.add_row(size, dialect, *_row(entry), end_section=dialect == tuple(DIALECTS)[-1])
    return shown


def _row(entry: Figures) -> Sequence[str]:
    if entry["failed"]:
        return [f"failed ({entry['failed']})", *[""] * (len(_COLUMNS) - 1)]
    return [number_of(entry[key], shape) if key in entry else "" for key, _, shape in _COLUMNS]


_BARS: Final = (
    ("p50_of_chat", "p50", 1 + WITHIN),
    ("rps_of_chat", "req/s", 1 - WITHIN),
    ("cpu_of_chat", "CPU", 1 + WITHIN),
)


def bars(result: Figures) -> Table:
    """Whether no API is slower than chat by more than `WITHIN`."""
    shown = Table(title="what must hold", box=SIMPLE)
    for title in ("what", "bar", "measured", ""):
        shown.add_column(title, justify="left" if title == "what" else "right")
    for dialect in tuple(DIALECTS)[1:]:
        for size, entry in result[dialect].items():
            for key, words, limit in _BARS:
                value = entry[key]
                holds = value is not None and (value <= limit if limit > 1 else value >= limit)
                outcome = "not measured" if value is None else "holds" if holds else "missed"
                bar = f"{'≤' if limit > 1 else '≥'} {limit:g}"
                shown.add_row(f"{words} of {dialect} over chat's, {size}", bar, number_of(value, ".3g"), outcome)
    return shown
