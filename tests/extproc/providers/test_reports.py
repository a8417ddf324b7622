"""What the activity service is told of providers."""

from msgspec.structs import replace
from tests.extproc.conftest import Make

from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model
from limpet_extproc.contract.prices import Price, PriceRules, PriceWindow
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import snapshot
from limpet_extproc.decision.speed import AnswerSpeed
from limpet_extproc.providers.reports import MOST_PRICES, provider_reports

NOW = 1_760_000_000.0


def test_a_provider_is_told_with_its_verdict_its_speed_and_its_prices(make: Make) -> None:
    tables = make.snapshot(make.provider("a", drain=True), make.provider("b", price=None))
    states = ProviderStates(
        health={"a": HealthState(trouble="over_limit", since_s=NOW, cause="Limited")},
        by_model={("a", "flash"): HealthState(trouble="degraded"), ("b", "flash"): HealthState(failures=1)},
        speeds={"flash": {"a": AnswerSpeed(3, 0.4, True, 80.0)}},
    )
    a, b = provider_reports(tables, states, {})
    assert (a.provider, a.verdict, a.cause, a.since_s, a.draining) == ("a", "over_limit", "Limited", NOW, True)
    assert (a.first_token_s, a.tokens_per_s, a.warm_conversations) == (0.4, 80.0, 0)
    assert [(each.model, each.input, each.window, each.until_s) for each in a.prices] == [("flash", 0.15, "", 0.0)]
    assert (b.verdict, b.cause, b.first_token_s, b.prices) == ("up", "", None, ())


def test_one_model_in_trouble_shows_at_its_provider(make: Make) -> None:
    states = ProviderStates(probed={("a", "flash"): HealthState(trouble="down", cause="ModelNotFound")})
    (report,) = provider_reports(make.snapshot(make.provider("a")), states, None)
    assert (report.verdict, report.cause, report.warm_conversations) == ("down", "ModelNotFound", None)


def test_the_price_is_that_of_the_hour(make: Make) -> None:
    night = PriceWindow("night", "UTC", tuple(range(7)), 0, 0, replace(make.price, input=0.05))
    catalog = Catalog("r1", (make.provider("a", rules=PriceRules(windows=(night,))),))
    (report,) = provider_reports(snapshot(catalog, now_s=NOW), ProviderStates(), None)
    assert [(each.input, each.window) for each in report.prices] == [(0.05, "night")]


def test_a_thousand_providers_of_many_models_share_the_bound() -> None:
    models = tuple(Model(f"m{number}", "m", 0, Price(1.0, 2.0, 0.1, 1.0)) for number in range(50))
    catalog = Catalog("r1", tuple(CatalogProvider(f"p{number}", models) for number in range(1000)))
    reports = provider_reports(snapshot(catalog), ProviderStates(), None)
    assert len(reports) == 1000
    assert sum(len(each.prices) for each in reports) == MOST_PRICES
