"""A report as text for a terminal. Pure."""

from collections.abc import Iterator
from math import isclose
from typing import Final

from limpet_extproc.contract.ledger import RowSums
from limpet_extproc.process.report.summary import SpendingReport

_NOTABLE: Final = 1.005
"""What is more by less is shown as equal."""

_HEADS: Final = ("requests", "cached", "paid", "without a cache", "not sticky", "always cheapest")


def report_lines(report: SpendingReport) -> Iterator[str]:
    """What is shown, line by line."""
    yield f"Since {report.since:%Y-%m-%d %H:%M} UTC"
    yield ""
    if not report.lines:
        yield "No request has been answered since."
    else:
        yield from _table(report)
        yield ""
        yield from _remarks(report.total)
    if report.probes.requests:
        yield _of_probes(report.probes)


def _table(report: SpendingReport) -> Iterator[str]:
    by = "day (UTC)" if report.by == "day" else report.by
    rows = [(by, *_HEADS), *((name, *_cells(sums)) for name, sums in report.lines.items())]
    if len(report.lines) > 1:
        rows.append(("total", *_cells(report.total)))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        first, *others = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join((row[0].ljust(len(first)), *others)).rstrip()


def _cells(sums: RowSums) -> tuple[str, ...]:
    share = f"{sums.cached_tokens / sums.prompt_tokens:.1%}" if sums.prompt_tokens else "-"
    usds = (sums.paid_usd, sums.uncached_usd, sums.spread_usd, sums.cheapest_usd)
    return f"{sums.requests:,}", share, *map(dollars, usds)


def dollars(usd: float) -> str:
    """Cents where it is much, more digits where it is little."""
    return f"${usd:,.2f}" if usd >= 100 else f"${usd:.4f}" if usd >= 0.1 or usd == 0 else f"${usd:.6f}"


def _remarks(total: RowSums) -> Iterator[str]:
    """What the dollars leave out."""
    for otherwise, usd in (("without a cache", total.uncached_usd), ("not sticky", total.spread_usd)):
        if usd > 0:
            less = usd - total.paid_usd
            words = "less" if less >= 0 else "more"
            yield f"Paid: {dollars(abs(less))} or {abs(less) / usd:.0%} {words} than {otherwise}."
    yield from why_dearer(total.paid_usd, total.spread_usd, total.cheapest_usd)
    if total.unpriced:
        yield f"{total.unpriced:,} requests are in no sum: their price is not known (write a Pricing)."
    if total.unmetered:
        why = "nothing told their tokens, as where a client left early"
        yield f"{total.unmetered:,} requests are in no sum, or by an estimate: {why}."
    if total.cache_unreported:
        count = f"{total.cache_unreported:,}"
        yield f"{count} answers did not say what was read from a cache; they count as if it were nothing."


def why_dearer(paid_usd: float, spread_usd: float, cheapest_usd: float) -> Iterator[str]:
    """A line for each rule without memory that would have cost less: how that can be.

    What is not sticky costs what was paid, exactly, where the policies' modes are Observe or Off.
    """
    if paid_usd > spread_usd * _NOTABLE:
        yield (
            "Not sticky would have cost less: little is saved where conversations have few turns or pause for longer "
            "than caches last, and one that moves is written to a second cache."
        )
    if paid_usd <= cheapest_usd * _NOTABLE:
        return
    if isclose(paid_usd, spread_usd):  # to the cent only where nothing was kept together
        yield (
            "Always cheapest would have cost less: every request is shared among near-equal providers anew, as modes "
            "Observe and Off do, and what one turn brought into a cache the next one may not find."
        )
    else:
        yield (
            "Always cheapest would have cost less: new conversations are shared among near-equal providers "
            "(spread.withinPercent in a StickyPolicy)."
        )


def _of_probes(probes: RowSums) -> str:
    unknown = f"; of {probes.unpriced + probes.unmetered:,} more it is not known"
    more = unknown if probes.unpriced or probes.unmetered else ""
    return f"Besides, {probes.requests:,} probes by completion cost {dollars(probes.paid_usd)}{more}."
