"""What goes to Envoy for `x-limpet-cost`, and that nothing goes where a policy does not show it."""

from typing import Any

import msgspec
import pytest
from tests.extproc.conftest import MODEL, Make

from limpet_extproc.contract.catalog import CatalogProvider, Model
from limpet_extproc.contract.prices import Price, PriceRules, PriceTier
from limpet_extproc.decision.price import turn_usd
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.envoy.responses import Responses
from limpet_extproc.memory import ConversationPace, Remembered, Warm
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.routing import Routing, decide
from limpet_extproc.request.shown_costs import ShownCost

PRICE = Price(1.0, 4.0, 0.1, 1.25, 2.0)
LONG = Price(2.0, 8.0, 0.2, 2.5, 4.0)
RULES = PriceRules(tiers=(PriceTier(200_000, LONG),), service_tiers={"flex": 0.5})
TIERED = CatalogProvider("a", (Model(MODEL, MODEL, 0, PRICE, price_rules=RULES),))


def routed(
    make: Make,
    *providers: CatalogProvider,
    shown: tuple[str, ...] = ("Cost",),
    remembered: Remembered | None = None,
    **body: Any,
) -> Routing:
    tables = make.snapshot(*providers, shown_headers=shown)
    opened = make.opened(tables, make.body("Hello", **{"max_tokens": 100, **body}))
    assert isinstance(opened, Opened)
    routing = decide(opened, remembered, ProviderStates(), 1_000.0, b"seed")
    assert isinstance(routing, Routing)
    return routing


def test_each_length_of_a_prompt_has_its_rates(make: Make) -> None:
    routing = routed(make, TIERED)
    usd = turn_usd(PRICE, routing.record.prompt_tokens, 0, 100)
    rates = ((0, 1.0, 0.1, 1.25, 2.0, 4.0), (200_000, 2.0, 0.2, 2.5, 4.0, 8.0))
    assert routing.costs == (ShownCost("a", pytest.approx(usd), rates),)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("before", "most", "expected"),
    [(0.0, None, 400), (45.0, None, 45), (4_000.0, None, 4_000), (45.0, 4_000, 45), (0.0, 4_000, 400), (0.0, 50, 50)],
)
def test_an_answer_as_long_as_those_before_is_expected(
    make: Make, before: float, most: int | None, expected: int
) -> None:
    pace = ConversationPace(3, 990.0, 10.0, 10, 0.0, before)
    remembered = Remembered((Warm("a", 2_000.0, 10),), pace=pace) if before else None
    routing = routed(make, TIERED, remembered=remembered, max_tokens=most)
    usd = turn_usd(PRICE, routing.record.prompt_tokens, routing.record.cache.expected[0], expected)
    assert routing.costs[0].expected_usd == pytest.approx(usd)


def test_the_service_tier_that_a_request_names_counts(make: Make) -> None:
    (cost,) = routed(make, TIERED, service_tier="flex").costs
    assert cost.rates[0] == (0, 0.5, 0.05, 0.625, 1.0, 2.0)


def test_a_provider_without_a_known_price_has_none(make: Make) -> None:
    assert [each.provider for each in routed(make, TIERED, make.provider("b", price=None)).costs] == ["a"]


def test_nothing_is_sent_where_the_policy_does_not_show_it(make: Make) -> None:
    routing = routed(make, TIERED, shown=())
    assert routing.costs == ()
    head = RequestHead(OpenAIChat(), {})
    shown = Responses().routed(routed(make, TIERED), head)
    hidden = Responses().routed(routing, head)
    assert b"\x0a\x04cost" in shown
    assert b"\x0a\x04cost" not in hidden
    assert msgspec.structs.replace(routing, costs=()) == routing
