"""How the demo looks: a table that fills itself on a terminal, plain lines anywhere else, one summary for both."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain

from rich import box
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from limpet_extproc.process.report.table import why_dearer
from limpet_lab.demo.result import Result, saved
from limpet_lab.demo.talk import Turn


class PlainScreen:
    """One line a turn; for pipes, files and logs."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def note(self, line: str) -> None:
        """See `Screen`."""
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def scene(self, title: str, names: list[str], turns: int) -> Iterator[Callable[[Turn], None]]:
        """See `Screen`."""
        self.note(f"\n{title}: {len(names)} conversations of {turns} turns")
        width = max(map(len, names))
        yield lambda turn: self.note(f"  {turn.conversation:<{width}}  turn {turn.number}  {_words(turn)}")


class LiveScreen(PlainScreen):
    """A table, redrawn with each turn; notes go above it."""

    @contextmanager
    def scene(self, title: str, names: list[str], turns: int) -> Iterator[Callable[[Turn], None]]:
        """See `Screen`."""
        finished: dict[tuple[str, int], Turn] = {}
        with Live(_grid(title, names, turns, finished), console=self._console, auto_refresh=False) as live:

            def add(turn: Turn) -> None:
                finished[turn.conversation, turn.number] = turn
                live.update(_grid(title, names, turns, finished), refresh=True)
                if turn.error:
                    self.note(f"  {turn.conversation} turn {turn.number}: {_words(turn)}")

            yield add


def screen_for(console: Console) -> PlainScreen:
    """Live on a terminal."""
    return LiveScreen(console) if console.is_terminal else PlainScreen(console)


def _words(turn: Turn) -> str:
    if turn.error:
        return f"failed: {turn.error}"
    found = "hit " if turn.hit else "miss"
    failover = f", failed over: {turn.attempts} attempts" if turn.attempts > 1 else ""
    return f"{turn.provider}  {found}  {turn.cached:>5,} of {turn.prompt:>5,} tokens cached  {turn.decision}{failover}"


def _grid(title: str, names: list[str], turns: int, finished: Mapping[tuple[str, int], Turn]) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, caption="green: read from its cache")
    table.add_column("conversation", no_wrap=True)
    for number in range(1, turns + 1):
        table.add_column(f"turn {number}", no_wrap=True, min_width=8)
    for name in names:
        table.add_row(name, *(_cell(finished.get((name, number))) for number in range(1, turns + 1)))
    return table


def _cell(turn: Turn | None) -> Text:
    if turn is None:
        return Text("")
    if turn.error:
        return Text("failed", "bold red")
    return Text(turn.provider, "green" if turn.hit else "yellow")


def show(result: Result, console: Console) -> None:
    """The summary."""
    console.print()
    console.print(_comparison(result))
    console.print(_who_served(result))
    lost = result.failover
    console.print(
        f"{lost.killed} was killed with {lost.on_killed} conversations: {lost.moved_within_one_turn} moved with their "
        f"next turn, {lost.stayed_moved} stayed where they had become warm, clients saw {lost.client_errors} errors.",
        highlight=False,
    )
    console.print()
    console.print(_ledger(result))
    spent = result.ledger
    for line in why_dearer(spent.paid_usd, spent.spread_usd, spent.cheapest_usd):
        console.print(line, highlight=False)
    console.print()
    console.print(saved(result), style="bold", highlight=False)


def _comparison(result: Result) -> Table:
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("sticky", justify="right")
    table.add_column("mode: Off", justify="right")
    sides = (result.sticky, result.off)
    table.add_row("second turns that hit", *(f"{each.second_turn_hits} of {each.second_turns}" for each in sides))
    table.add_row(
        "second-turn hit rate", *(f"{each.second_turn_hits / max(1, each.second_turns):.0%}" for each in sides)
    )
    table.add_row("cached share of prompt tokens", *(f"{each.cached_share:.1%}" for each in sides))
    table.add_row("sellers' bills", *(f"${each.usd:.5f}" for each in sides))
    return table


def _ledger(result: Result) -> Table:
    spent = result.ledger
    table = Table(title="the sticky conversations in the ledger", title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("dollars", justify="right")
    table.add_column("against paid", justify="right")
    for rule, usd in (
        ("paid", spent.paid_usd),
        ("always cheapest", spent.cheapest_usd),
        ("not sticky", spent.spread_usd),
        ("without any cache", spent.uncached_usd),
    ):
        more = f"{usd / spent.paid_usd - 1:+.0%}" if spent.paid_usd and rule != "paid" else ""
        table.add_row(rule, f"${usd:.5f}", more)
    return table


def _who_served(result: Result) -> Table:
    parts = (result.sticky.served, result.off.served, result.failover.served)
    sellers = sorted(set(chain.from_iterable(chain.from_iterable(part.values()) for part in parts)) - {""})
    letters = {name: chr(ord("a") + number) for number, name in enumerate(sellers)} | {"": "–"}
    legend = ", ".join(f"{letters[name]} = {name}" for name in sellers)
    table = Table(title="who served each turn", title_justify="left", box=box.SIMPLE_HEAD, caption=legend)
    for column in ("conversation", "sticky", "mode: Off", f"{result.failover.killed} killed, back"):
        table.add_column(column, no_wrap=True)
    for name in result.sticky.served:
        table.add_row(name, *(" ".join(letters[each] for each in part.get(name, [])) for part in parts))
    return table
