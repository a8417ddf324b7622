"""The monthly bill of each set of providers, by Limpet's rules and by those of gateways that remember nothing."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import msgspec

from limpet_extproc.contract.catalog import Catalog
from limpet_lab.replay.comparison import LIMPET, World, rule_sets
from limpet_lab.replay.play import ReplayedBill, play
from limpet_lab.replay.requests import requests_of
from limpet_lab.replay.sellers import SellerSpec
from limpet_lab.replay.trace import TraceRow

MONTH_S: Final = 30 * 86_400.0
WITHOUT: Final = ("always_cheapest", "no_memory")
"""The rule sets that stand for doing without."""
_PAIRS_UP_TO: Final = 6
"""Providers, of which all pairs are planned; of more the pairs would be many, and are left out."""


@dataclass(frozen=True, slots=True)
class SetCost:
    """What a set of providers would cost."""

    providers: tuple[str, ...]
    bills: Mapping[str, ReplayedBill]
    """By rule set, of the requests that were replayed."""

    @property
    def with_limpet(self) -> ReplayedBill:
        """Limpet's own."""
        return self.bills[LIMPET]


@dataclass(frozen=True, slots=True)
class ModelCosts:
    """The sets of one model, the cheapest with Limpet first."""

    model: str
    requests: int
    seconds: float
    """That the requests stand for."""
    sets: tuple[SetCost, ...]

    @property
    def months(self) -> float:
        """How many times they fit into a month of 30 days."""
        return MONTH_S / self.seconds if self.seconds else 1.0

    def as_json(self) -> dict[str, Any]:
        """For programs; docs/plan.md has the keys."""
        return {
            "requests": self.requests,
            "days": self.seconds / 86_400,
            "sets": [
                {
                    "providers": list(each.providers),
                    "rules": {
                        name: {"usd_a_month": bill.usd * self.months, "cached_share": bill.cached_share}
                        for name, bill in each.bills.items()
                    },
                }
                for each in self.sets
            ],
        }


async def costs_of(
    model: str,
    rows: Sequence[TraceRow],
    catalog: Catalog,
    sellers: Sequence[SellerSpec],
    begin_s: float,
    say: Callable[[str], None] = lambda _: None,
) -> ModelCosts:
    """Plays the requests of a model to every set of these sellers. `say` is told what is played next."""
    requests = requests_of(rows, begin_s)
    costs: list[SetCost] = []
    for names in sets_of([seller.name for seller in sellers]):
        say(f"{model}: {', '.join(names)}")
        chosen = [seller for seller in sellers if seller.name in names]
        rules = rule_sets(World(_only(catalog, names), model, chosen, begin_s), requests)
        wanted = (LIMPET, *WITHOUT) if len(names) > 1 else (LIMPET, WITHOUT[0])
        bills = {name: await play(rules[name](), requests.all, chosen) for name in wanted}
        costs.append(SetCost(names, bills))
    seconds = seconds_of(rows)
    a_month = MONTH_S / seconds if seconds else 1.0
    # Of sets that cost the same to the cent the smaller one first: each provider is an account to look after.
    costs.sort(key=lambda each: (round(each.with_limpet.usd * a_month, 2), len(each.providers), each.providers))
    return ModelCosts(model, len(rows), seconds, tuple(costs))


def sets_of(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Each alone, each two, and all."""
    sizes = {1, 2, len(names)} if len(names) <= _PAIRS_UP_TO else {1, len(names)}
    return [each for size in sorted(sizes) if size <= len(names) for each in combinations(names, size)]


def seconds_of(rows: Sequence[TraceRow]) -> float:
    """The time that the requests stand for: from the first to the last, and the mean gap once more."""
    span_s = (rows[-1].timestamp - rows[0].timestamp) / 1000 if rows else 0.0
    return span_s * len(rows) / (len(rows) - 1) if len(rows) > 1 else 0.0


def _only(catalog: Catalog, names: Sequence[str]) -> Catalog:
    """The catalog with these providers. Clients are taken to mark their prompts where that matters."""
    as_marked = {"only_marked": False, "free_unmarked": False}
    providers = tuple(
        msgspec.structs.replace(each, cache_fields=msgspec.structs.replace(each.cache_fields, **as_marked))
        for each in catalog.providers
        if each.name in names
    )
    return msgspec.structs.replace(catalog, providers=providers)
