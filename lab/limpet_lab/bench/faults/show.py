"""The campaign for people: a line when a fault has been played, and a table at the end."""

from collections.abc import Sequence
from typing import Final

from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.bench.faults.rows import FaultRow

_COLUMNS: Final = (
    *("requests", "errors", "extra\nattempts", "moved\ns", "sticky\nagain s"),
    *("cached %\nbefore", "during", "after", "added\np99 ms", ""),
)


def line(row: FaultRow) -> str:
    """What became of one fault."""
    if row.held:
        return f"{row.name}: held"
    return "\n".join([f"{row.name}: MISSED", *(f"    {missed}" for missed in row.missed)])


def table(rows: Sequence[FaultRow]) -> Table:
    """All faults."""
    shown = Table(box=SIMPLE)
    shown.add_column("fault")
    for name in _COLUMNS:
        shown.add_column(name, justify="right")
    for row in rows:
        shown.add_row(
            row.name,
            str(row.requests),
            str(row.client_errors),
            str(row.extra_attempts),
            _number(row.moved_s, 2),
            _number(row.sticky_again_s, 1),
            *(_number(share and 100 * share, 0) for share in (row.cached_before, row.cached_during, row.cached_after)),
            _number(row.added_p99_ms, 0),
            "held" if row.held else "[red]missed[/]",
        )
    return shown


def _number(value: float | None, places: int) -> str:
    return "" if value is None else f"{value:.{places}f}"
