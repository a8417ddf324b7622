"""The costs of a plan for people: a table a model, and a sentence."""

from typing import Final

from rich.box import SIMPLE
from rich.table import Table

from limpet_lab.plan.costs import WITHOUT, ModelCosts, SetCost
from limpet_lab.replay.play import ReplayedBill

_HEADS: Final = {"always_cheapest": "always the cheapest", "no_memory": "spread by price"}


def table_of(costs: ModelCosts) -> Table:
    """Each set's dollars a month, the cheapest first."""
    days = costs.seconds / 86_400
    title = f"{costs.model}: {costs.requests:,} requests of {_days(days)}, times {costs.months:,.1f} for a month"
    shown = Table(title=title, box=SIMPLE, caption=sentence(costs))
    shown.add_column("providers")
    for column in ("with Limpet", "cached", *(_HEADS[name] for name in WITHOUT), "saved"):
        shown.add_column(column, justify="right")
    for each in costs.sets:
        ours, least = each.with_limpet, _without(each)
        shown.add_row(
            ", ".join(each.providers),
            _dollars(ours, costs),
            f"{ours.cached_share:.0%}",
            *(_dollars(each.bills[name], costs) if name in each.bills else "" for name in WITHOUT),
            f"{1 - ours.usd / least.usd:.0%}" if least.usd else "",
        )
    return shown


def sentence(costs: ModelCosts) -> str:
    """What the table comes to: the least of all of it, whoever's it is."""
    ours, theirs = costs.sets[0], min(costs.sets, key=lambda each: _without(each).usd)
    usd, without = _dollars(ours.with_limpet, costs), _dollars(_without(theirs), costs)
    with_limpet, without_it = ", ".join(ours.providers), ", ".join(theirs.providers)
    if usd == without:
        where = "" if with_limpet == without_it else f" at {without_it}"
        return f"The cheapest is {with_limpet} with Limpet: {usd} a month; without, as much{where}."
    if ours.with_limpet.usd < _without(theirs).usd:
        return f"The cheapest is {with_limpet} with Limpet: {usd} a month; without, at best {without} at {without_it}."
    return f"The cheapest is {without_it} without Limpet: {without} a month; with it, at best {usd} at {with_limpet}."


def _without(cost: SetCost) -> ReplayedBill:
    return min((cost.bills[name] for name in WITHOUT if name in cost.bills), key=lambda bill: bill.usd)


def _dollars(bill: ReplayedBill, costs: ModelCosts) -> str:
    return f"${bill.usd * costs.months:,.2f}"


def _days(days: float) -> str:
    return f"{days:.1f} days" if days >= 1 else f"{days * 24:.1f} hours"
