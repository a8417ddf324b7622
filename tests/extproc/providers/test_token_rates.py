"""How a worker learns from its own answers and from its siblings' how many tokens the prompts of a model have."""

from tests.extproc.hand_clock import HandClock

from limpet_extproc.contract.catalog import CatalogProvider, Model
from limpet_extproc.providers.events import AnswerGenerated
from limpet_extproc.providers.tracker import ProviderTracker


def test_a_model_has_a_rate_as_long_as_it_is_served() -> None:
    tracker = ProviderTracker(HandClock(0.0), lambda _: None)
    rates = tracker.states.token_rates
    tracker.apply(AnswerGenerated("a", 10, 1.0, "flash"))  # as an older worker tells it
    tracker.apply(AnswerGenerated("a", 10, 1.0, "", 6_000, 8_000))
    assert rates == {}
    tracker.apply(AnswerGenerated("a", 10, 1.0, "flash", 6_000, 8_000))
    tracker.apply(AnswerGenerated("b", 10, 1.0, "large", 9_000, 8_000))
    tracker.apply_received(AnswerGenerated("b", 10, 1.0, "flash", 6_000, 8_000))
    assert rates == {"flash": 0.75, "large": 1.125}
    tracker.keep({"a": CatalogProvider("a", (Model("flash", "flash"),))})
    assert rates == {"flash": 0.75}
