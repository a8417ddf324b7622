"""The Infron test's figures for a person: a table, and a sentence that compares."""

from collections.abc import Mapping
from typing import Final

from rich import box
from rich.table import Table

from limpet_lab.bench.infron_score import Score, ratio

ARTICLE_RATIO: Final = 1.2917
"""OpenRouter's bill over Infron's in the article's table: 0.046970 / 0.036364 dollars."""

_LABELS: Final = {
    "limpet": "Limpet",
    "no_memory": "no memory",
    "openrouter": "OpenRouter",
    "openrouter_session_id": "+ session id",
}
_COLUMNS: Final = (
    "rounds\nhit",
    "by\ntoken",
    "cached\naverage",
    "cost\n$",
    "times\nours",
    "prompts\nonly, $",
    "times\nours",
)


def rule_sets_table(scores: Mapping[str, Score]) -> Table:
    """One row a rule set; 80 columns hold it."""
    table = Table(title="Second call of each round; sellers and peers' rules are simulated", box=box.SIMPLE_HEAD)
    table.add_column("rules", no_wrap=True)
    for column in _COLUMNS:
        table.add_column(column, justify="right", no_wrap=True)
    ours = scores["limpet"]
    for name, each in scores.items():
        table.add_row(
            _LABELS.get(name, name),
            f"{each.rounds_hit}/{each.rounds}",
            _percent(each.token_hit_rate),
            _number(each.avg_cached_tokens, 1),
            _number(each.cost_usd, 4),
            _number(ratio(each, ours), 2),
            _number(each.input_cost_usd, 4),
            _number(ratio(each, ours, "input_cost_usd"), 2),
        )
    return table


def conclusion(scores: Mapping[str, Score]) -> str:
    """What the table comes to, beside the article's own figures."""
    ours = scores["limpet"]
    cost = _number(ratio(scores["openrouter"], ours), 2)
    return (
        f"Limpet read {_percent(ours.token_hit_rate)} of the prompt tokens from caches; by OpenRouter's documented "
        f"rules the second calls cost {cost} times as much. The article itself measured 97.22% for Infron, 83.40% for "
        f"OpenRouter, and a bill {ARTICLE_RATIO} times as large."
    )


def gateway_table(result: Score) -> Table:
    """One row a figure, for a gateway of the user's own."""
    table = Table(title="Second call of each round, as your gateway reported it", show_header=False)
    reported = result.rounds - result.rounds_unreported
    table.add_row("rounds that read a cache", f"{result.rounds_hit} of {reported} that said so")
    if result.rounds_unreported:
        words = f"{result.rounds_unreported} rounds: usage had no cache field, which is no miss"
        table.add_row("unreported", words)
    table.add_row("hit rate by call", _percent(result.call_hit_rate))
    table.add_row("hit rate by token", _percent(result.token_hit_rate))
    table.add_row("cached tokens, average", _number(result.avg_cached_tokens, 1))
    table.add_row("cost of the second calls, $", _number(result.cost_usd, 6))
    table.add_row("cost of both calls, $", _number(result.cost_both_calls_usd, 6))
    return table


def _percent(rate: float | None) -> str:
    return "unknown" if rate is None else f"{rate:.2%}"


def _number(value: float | None, digits: int) -> str:
    return "unknown" if value is None else f"{value:,.{digits}f}"
