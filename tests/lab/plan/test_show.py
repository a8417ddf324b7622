"""The sentence below a plan names the least of all prices in its table, whoever's it is."""

import pytest

from limpet_lab.plan.costs import MONTH_S, ModelCosts, SetCost
from limpet_lab.plan.show import sentence
from limpet_lab.replay.play import ReplayedBill


def _set(providers: str, limpet: float, cheapest: float, spread: float | None = None) -> SetCost:
    usd = {"limpet": limpet, "always_cheapest": cheapest, **({} if spread is None else {"no_memory": spread})}
    return SetCost(tuple(providers.split()), {name: ReplayedBill(usd=each) for name, each in usd.items()})


@pytest.mark.parametrize(
    ("sets", "said"),
    [
        (
            [_set("a", 17.58, 17.58), _set("a b", 18.02, 16.54, 21.02)],
            "The cheapest is a, b without Limpet: $16.54 a month; with it, at best $17.58 at a.",
        ),
        (
            [_set("a b", 15, 16.54, 21.02), _set("a", 17.58, 17.58)],
            "The cheapest is a, b with Limpet: $15.00 a month; without, at best $16.54 at a, b.",
        ),
        (
            [_set("a b", 15, 18, 14.5), _set("a", 17.58, 17.58)],
            "The cheapest is a, b without Limpet: $14.50 a month; with it, at best $15.00 at a, b.",
        ),
        ([_set("a", 17.58, 17.58)], "The cheapest is a with Limpet: $17.58 a month; without, as much."),
        (
            [_set("a b", 17.578, 18), _set("a", 17.58, 17.58)],
            "The cheapest is a, b with Limpet: $17.58 a month; without, as much at a.",
        ),
    ],
)
def test_the_least_of_all_is_named(sets: list[SetCost], said: str) -> None:
    assert sentence(ModelCosts("m", 10, MONTH_S, tuple(sets))) == said
