"""One trace, all rule sets: who pays what, and what nobody could have paid less than."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

from limpet_extproc.contract.catalog import Catalog
from limpet_lab.replay.bound import HindsightRules, lower_bound
from limpet_lab.replay.limpet import LimpetRules
from limpet_lab.replay.others import OTHERS, NewRules
from limpet_lab.replay.play import ReplayedBill, ReplayedRules, play
from limpet_lab.replay.requests import ReplayedRequests, requests_of
from limpet_lab.replay.sellers import SellerSpec
from limpet_lab.replay.trace import Trace

LIMPET = "limpet"


@dataclass(frozen=True, slots=True)
class World:
    """Where traces are replayed."""

    catalog: Catalog
    model: str
    sellers: Sequence[SellerSpec]
    begin_s: float
    """Unix time of the first request."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The bills of one trace."""

    name: str
    requests: int
    clairvoyant_usd: float
    """The proven lower bound."""
    hindsight: ReplayedBill
    """Of the bound's own choices, played for real: the true optimum is no dearer."""
    bills: Mapping[str, ReplayedBill]
    """By rule set, Limpet's first."""
    seconds: float
    notes: tuple[str, ...] = ()

    def ratio(self, bill: ReplayedBill) -> float:
        """To the bound; 1 where there is nothing to pay."""
        return bill.usd / self.clairvoyant_usd if self.clairvoyant_usd else 1.0

    def as_json(self) -> dict[str, Any]:
        """The figures for programs; docs/benchmarks.md has the keys."""
        return {
            "clairvoyant_usd": self.clairvoyant_usd,
            "hindsight_usd": self.hindsight.usd,
            "rules": {
                name: {
                    "usd": bill.usd,
                    "cached_share": bill.cached_share,
                    "switches": bill.switches,
                    "ratio": self.ratio(bill),
                    "failed_attempts": bill.failed_attempts,
                    "unserved": bill.unserved,
                    "requests": dict(bill.requests),
                }
                for name, bill in self.bills.items()
            },
            "requests": self.requests,
            "seconds": self.seconds,
            "notes": list(self.notes),
        }


async def compare(
    name: str,
    trace: Trace,
    world: World,
    only: Sequence[str] | None = None,
    say: Callable[[str], None] = lambda _: None,
) -> Comparison:
    """Play the trace by each rule set, or by `only` these. `say` is told what is played next."""
    began = perf_counter()
    requests = requests_of(trace.rows, world.begin_s)
    bound = lower_bound(requests.all, world.sellers)
    hindsight = await play(
        HindsightRules(bound.choices, [seller.name for seller in world.sellers]), requests.all, world.sellers
    )
    bills: dict[str, ReplayedBill] = {}
    for rules_name, new_rules in rule_sets(world, requests).items():
        if only is None or rules_name in only:
            say(f"{name}: {rules_name}")
            bills[rules_name] = await play(new_rules(), requests.all, world.sellers)
    return Comparison(name, len(requests.all), bound.usd, hindsight, bills, perf_counter() - began, trace.notes)


def rule_sets(world: World, requests: ReplayedRequests) -> Mapping[str, Callable[[], ReplayedRules]]:
    """All of them by name, Limpet's first; each has a memory of its own whenever it is made."""
    others = {name: _of(new_rules, world.sellers) for name, new_rules in OTHERS.items()}
    return {LIMPET: lambda: LimpetRules(world.catalog, world.model, requests), **others}


def _of(new_rules: NewRules, sellers: Sequence[SellerSpec]) -> Callable[[], ReplayedRules]:
    return lambda: new_rules(sellers)
