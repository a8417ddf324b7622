"""A comparison for people: a table, a sentence, and a picture."""

from collections.abc import Sequence
from html import escape
from typing import Final

from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.replay.comparison import LIMPET, Comparison
from limpet_lab.replay.play import ReplayedBill

BAR: Final = 1.02
"""What Limpet's bill is to stay within, as a multiple of the bound."""

_ROW: Final = 26
_LEFT: Final = 190
_WIDTH: Final = 860
_TOP: Final = 54


def table(comparison: Comparison) -> Table:
    """Each rule set's bill, the dearest last."""
    title = f"{comparison.name}: {comparison.requests:,} requests, {comparison.seconds:.0f} s"
    shown = Table(title=title, box=SIMPLE, caption=conclusion(comparison))
    shown.add_column("rules")
    for column in ("USD", "of the bound", "cached", "switches", "failed attempts"):
        shown.add_column(column, justify="right")
    shown.add_row("lower bound", f"{comparison.clairvoyant_usd:.4f}", "1.000", "", "", "")
    for name, bill in (("the bound's choices, played", comparison.hindsight), *by_usd(comparison)):
        shown.add_row(
            name,
            f"{bill.usd:.4f}",
            f"{comparison.ratio(bill):.3f}",
            f"{bill.cached_share:.1%}",
            f"{bill.switches:,}",
            f"{bill.failed_attempts:,}",
        )
    return shown


def conclusion(comparison: Comparison) -> str:
    """Whether the bar holds; empty without Limpet."""
    ours = comparison.bills.get(LIMPET)
    if ours is None:
        return ""
    ratio = comparison.ratio(ours)
    cheapest = by_usd(comparison)[0][0]
    holds = "holds" if ratio <= BAR else "missed"
    lowest = "the lowest bill" if cheapest == LIMPET else f"the lowest bill is that of {cheapest}"
    return f"limpet at {ratio:.3f} of the bound; bar {BAR:.2f} {holds}; {lowest}"


def by_usd(comparison: Comparison) -> list[tuple[str, ReplayedBill]]:
    """The rule sets, the cheapest first."""
    return sorted(comparison.bills.items(), key=lambda item: item[1].usd)


def svg(comparisons: Sequence[Comparison]) -> str:
    """Bars of all bills as multiples of the bound, one panel a trace."""
    panels: list[str] = []
    top = 0
    for comparison in comparisons:
        panels.append(_panel(comparison, top))
        top += _TOP + _ROW * len(comparison.bills) + 24
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {top}" width="{_WIDTH}" height="{top}" '
        'font-family="system-ui, sans-serif" font-size="13">\n'
        f'<rect width="{_WIDTH}" height="{top}" fill="#ffffff"/>\n' + "".join(panels) + "</svg>\n"
    )


def _panel(comparison: Comparison, top: int) -> str:
    rows = by_usd(comparison)
    most = max((comparison.ratio(bill) for _, bill in rows), default=1.0)
    per_unit = (_WIDTH - _LEFT - 190) / max(most, 1.0)
    title = f"{comparison.name}: {comparison.requests:,} requests; lower bound {comparison.clairvoyant_usd:.2f} USD"
    bound_x = _LEFT + per_unit
    height = _ROW * len(rows)
    lines = [
        f'<text x="16" y="{top + 28}" font-size="15" font-weight="600">{escape(title)}</text>\n',
        f'<path d="M{bound_x:.1f} {top + 40}V{top + _TOP + height}" stroke="#444444" stroke-dasharray="3 3"/>\n',
    ]
    for place, (name, bill) in enumerate(rows):
        y = top + _TOP + _ROW * place
        ratio = comparison.ratio(bill)
        colour = "#0b7a75" if name == LIMPET else "#b8c4cc"
        label = f"{bill.usd:.2f} USD · {ratio:.3f} · {bill.cached_share:.0%} cached"
        lines += [
            f'<text x="{_LEFT - 10}" y="{y + 14}" text-anchor="end">{escape(name)}</text>\n',
            f'<rect x="{_LEFT}" y="{y}" width="{per_unit * ratio:.1f}" height="{_ROW - 8}" fill="{colour}"/>\n',
            f'<text x="{_LEFT + per_unit * ratio + 8:.1f}" y="{y + 14}">{escape(label)}</text>\n',
        ]
    return "".join(lines)
