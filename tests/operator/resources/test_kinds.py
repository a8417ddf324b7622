"""What becomes of the fields of each kind."""

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_extproc.contract.catalog import Limits, Policy
from limpet_extproc.contract.prices import Price, PriceRules, PriceTier, PriceWindow
from limpet_operator.resources.healthprobe import CompletionCheck, HttpCheck, Thresholds
from limpet_operator.resources.model_prices import ModelPrices
from limpet_operator.resources.objects import Foreign
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.provider import (
    CaCertificateRef,
    Credential,
    EnvVar,
    ProviderModel,
    SecretKeyRef,
    Timeouts,
    Tls,
)
from limpet_operator.resources.secret import SecretText
from limpet_operator.resources.url import Url
from limpet_operator.resources.vendors import PromptCacheRules


def test_provider_is_filled_in_by_schema_and_preset(build: Build) -> None:
    provider = build.parser.parse(build.raw("Provider", labels={"tier": "fast"}))
    assert provider.key == ObjectKey("Provider", "default", "deepseek")
    assert provider.labels == {"tier": "fast"}
    assert provider.url == Url("https", "api.deepseek.com", 443, "/v1")
    assert provider.credential == Credential(SecretKeyRef("deepseek", "api-key"), "authorization", "Bearer ")
    assert provider.models == (ProviderModel("flash", "flash", 64),)
    assert provider.dialects == ("OpenAIChat", "OpenAIResponses", "AnthropicMessages")
    assert provider.cache == PromptCacheRules(True, 7200.0, 64)
    assert provider.timeouts == Timeouts(2.0, 600.0, 120.0)
    assert (provider.tls, provider.weight, provider.drain, provider.generation) == (None, 100, False, 0)


def test_provider_has_its_own_words(build: Build) -> None:
    provider = build.parser.parse(
        build.raw(
            "Provider",
            models=[{"name": "a", "upstreamName": "b"}],
            dialects=["OpenAIChat"],
            cache={"ttl": "5m", "minTokens": 1024},
            tls={"caCertificateRef": {"name": "corp-ca", "key": "ca.crt"}},
            timeouts={"idle": "1m"},
        )
    )
    assert provider.models == (ProviderModel("a", "b", 1024),)
    assert provider.dialects == ("OpenAIChat",)
    assert provider.cache == PromptCacheRules(True, 300.0, 1024)
    assert provider.tls == Tls(CaCertificateRef("ConfigMap", "corp-ca", "ca.crt"), None)
    assert provider.timeouts == Timeouts(2.0, 600.0, 60.0)


@pytest.mark.parametrize(
    ("vendor", "written", "header", "prefix"),
    [
        ("OpenAI", {}, "authorization", "Bearer "),
        ("Anthropic", {}, "x-api-key", ""),
        ("AzureOpenAI", {}, "api-key", ""),
        ("GoogleAIStudio", {}, "authorization", "Bearer "),
        ("Anthropic", {"header": "authorization"}, "authorization", "Bearer "),
        ("OpenAI", {"header": "x-goog-api-key"}, "x-goog-api-key", ""),
        ("OpenAI", {"scheme": "Raw"}, "authorization", ""),
        ("AzureOpenAI", {"header": "api-key", "scheme": "Bearer"}, "api-key", "Bearer "),
    ],
)
def test_credential_header(build: Build, vendor: str, written: dict[str, str], header: str, prefix: str) -> None:
    provider = build.parser.parse(build.raw("Provider", vendor=vendor, credential={"env": "KEY"} | written))
    assert provider.credential == Credential(EnvVar("KEY"), header, prefix)


@pytest.mark.parametrize(
    ("vendor", "cache", "caches"),
    [
        ("Custom", None, False),
        ("Custom", {"ttl": "5m"}, True),
        ("Custom", {"ttl": "5m", "enabled": False}, False),
        ("Custom", {"enabled": True}, True),
        ("VLLM", None, True),
        ("VLLM", {"enabled": False}, False),
    ],
)
def test_whether_it_caches(build: Build, vendor: str, cache: dict[str, object] | None, caches: bool) -> None:
    assert build.parser.parse(build.raw("Provider", vendor=vendor, cache=cache)).cache.caches is caches


def test_null_where_a_default_exists_is_the_default(build: Build) -> None:
    raw = build.raw("Provider")
    raw["spec"] |= {"weight": None, "timeouts": None}
    provider = build.parser.parse(raw)
    assert (provider.weight, provider.timeouts) == (100, Timeouts(2.0, 600.0, 120.0))
    assert provider.usual_timeouts == provider.timeouts


TOKENS = {"input": "0.15", "output": "0.60"}
FULL = TOKENS | {"cacheRead": "0.003", "cacheWrite": "0.1875", "cacheWrite1h": "0.3"}
FULL_PRICE = Price(0.15, 0.60, 0.003, 0.1875, 0.3)
TWICE = Price(0.30, 1.20, 0.006, 0.375, 0.6)
DEAR, DEAR_PRICE = {"input": "9", "output": "9"}, Price(9.0, 9.0, 9.0, 9.0)
PEAK = {
    "name": "peak",
    "timeZone": "Asia/Shanghai",
    "days": ["Sun", "Mon"],
    "from": "22:00",
    "to": "06:30",
    "factor": "2",
}


def rules_of(build: Build, model: dict[str, Any], *windows: dict[str, Any]) -> PriceRules:
    raw = build.raw("Pricing", models=[{"name": "m", "perMillionTokens": FULL} | model], windows=list(windows))
    rules = build.parser.parse(raw).prices["m"].rules
    assert isinstance(rules, PriceRules)
    return rules


def test_prices(build: Build) -> None:
    models = [{"name": "plain", "perMillionTokens": TOKENS}, {"name": "full", "perMillionTokens": FULL}]
    pricing = build.parser.parse(build.raw("Pricing", models=models, staleAfter="720h"))
    assert pricing.prices == {
        "plain": ModelPrices(Price(0.15, 0.60, 0.15, 0.15), PriceRules()),
        "full": ModelPrices(FULL_PRICE, PriceRules()),
    }
    assert (pricing.provider_ref, pricing.currency, pricing.stale_after_s) == ("deepseek", "USD", 2_592_000.0)


def test_a_window_multiplies_prices_or_has_its_own(build: Build) -> None:
    own = {"name": "own", "from": "06:00", "to": "07:00", "models": [{"name": "m", "perMillionTokens": DEAR}]}
    peak, other = rules_of(build, {}, PEAK, own).windows
    assert peak == PriceWindow("peak", "Asia/Shanghai", (0, 6), 22 * 60, 6 * 60 + 30, TWICE)
    assert other == PriceWindow("own", "UTC", (0, 1, 2, 3, 4, 5, 6), 360, 420, DEAR_PRICE)


def test_a_window_with_prices_of_some_models_does_not_concern_the_others(build: Build) -> None:
    other = [{"name": "other", "perMillionTokens": DEAR}]
    assert rules_of(build, {}, {"name": "own", "from": "06:00", "to": "07:00", "models": other}).windows == ()


LONG = [{"aboveTokens": 400_000, "perMillionTokens": DEAR}, {"aboveTokens": 200_000, "factor": "2"}]


def test_tiers_are_sorted_and_windows_multiply_them(build: Build) -> None:
    rules = rules_of(build, {"longContext": LONG}, PEAK | {"factor": "0.5"})
    assert rules.tiers == (PriceTier(200_000, TWICE), PriceTier(400_000, DEAR_PRICE))
    assert rules.windows[0].tiers == (PriceTier(200_000, FULL_PRICE), PriceTier(400_000, Price(4.5, 4.5, 4.5, 4.5)))


@pytest.mark.parametrize(
    ("in_window", "tiers"),
    [
        ({}, (PriceTier(200_000, Price(2.0, 2.0, 2.0, 2.0)), PriceTier(400_000, DEAR_PRICE))),
        ({"longContext": []}, ()),
        ({"longContext": [{"aboveTokens": 1, "factor": "9"}]}, (PriceTier(1, DEAR_PRICE),)),
    ],
)
def test_own_prices_of_a_window_have_the_usual_tiers_unless_they_say_otherwise(
    build: Build, in_window: dict[str, Any], tiers: tuple[PriceTier, ...]
) -> None:
    own = {"name": "m", "perMillionTokens": {"input": "1", "output": "1"}} | in_window
    window = {"name": "own", "from": "06:00", "to": "07:00", "models": [own]}
    assert rules_of(build, {"longContext": LONG}, window).windows[0].tiers == tiers


@pytest.mark.parametrize(("usd", "factor", "product"), [("0.1", "3", 0.3), ("3", "1.1", 3.3), ("0.05", "6", 0.3)])
def test_a_price_times_a_factor_is_what_a_person_works_out(build: Build, usd: str, factor: str, product: float) -> None:
    dollars = {"input": usd, "output": usd}
    long = [{"aboveTokens": 1, "factor": factor}, {"aboveTokens": 2, "perMillionTokens": dollars}]
    raw = build.raw(
        "Pricing",
        models=[{"name": "m", "perMillionTokens": dollars, "longContext": long}],
        windows=[PEAK | {"factor": factor}],
    )
    rules = build.parser.parse(raw).prices["m"].rules
    (window,) = rules.windows
    assert {rules.tiers[0].price.input, window.price.input, window.tiers[1].price.input} == {product}


def test_service_tiers_are_factors(build: Build) -> None:
    tiers = [{"name": "flex", "factor": "0.5"}, {"name": "priority", "factor": "2"}]
    assert rules_of(build, {"serviceTiers": tiers}).service_tiers == {"flex": 0.5, "priority": 2.0}


def test_a_window_of_an_unknown_zone_is_left_out(build: Build) -> None:
    windows = rules_of(build, {}, PEAK | {"name": "mars", "timeZone": "Mars/Olympus"}, PEAK).windows
    assert [window.name for window in windows] == ["peak"]


@given(st.decimals(0, 9_999_999, places=9).map(lambda price: f"{price:f}"))
def test_prices_come_back(build: Build, price: str) -> None:
    models = [{"name": "flash", "perMillionTokens": {"input": price, "output": "1"}}]
    assert build.parser.parse(build.raw("Pricing", models=models)).prices["flash"].price.input == float(price)


_DAY = st.dates().map(str) | st.from_regex(r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])", fullmatch=True)
_AGE = st.from_regex(r"([1-9][0-9]{0,4}(h|m|s|ms)){1,4}", fullmatch=True)


@given(_DAY, _AGE)
@example("9999-12-31", "99999h99999h99999h99999h")
def test_any_date_and_age_that_the_crd_takes_has_an_end_or_is_not_known(build: Build, day: str, age: str) -> None:
    pricing = build.parser.parse(build.raw("Pricing", source={"name": "x", "retrieved": day}, staleAfter=age))
    read, stale = pricing.read_on, pricing.stale_at
    assert (read is None) == (stale is None)
    assert read is None or stale is None or stale > read


def test_healthprobe(build: Build) -> None:
    probe = build.parser.parse(
        build.raw("HealthProbe", http={"path": "/models", "expectedStatuses": ["401", "200-299"]})
    )
    assert probe.check == HttpCheck("/models", ((401, 401), (200, 299)))
    assert (probe.selector, probe.provider_refs, probe.interval_s, probe.timeout_s) == ({}, (), 30.0, 5.0)
    assert probe.thresholds == Thresholds(3, 2, None)
    raw = build.raw(
        "HealthProbe",
        providerSelector=None,
        providerRefs=[{"name": "a"}],
        http=None,
        completion={"model": "m"},
        thresholds={"degradedAfter": "2s"},
    )
    probe = build.parser.parse(raw)
    assert (probe.check, probe.selector, probe.provider_refs) == (CompletionCheck("m", 1), None, ("a",))
    assert probe.thresholds == Thresholds(3, 2, 2.0)


def test_stickypolicy_without_a_word_is_the_contract_defaults(build: Build) -> None:
    for raw in (build.raw("StickyPolicy", "default"), build.raw("StickyPolicy", "default") | {"spec": None}):
        sticky = build.parser.parse(raw)
        assert (sticky.policy, sticky.routing) == (Policy(), "Metadata")
    bare = build.raw("StickyPolicy", "default")
    del bare["spec"]
    assert build.parser.parse(bare).policy == Policy()


def test_stickypolicy(build: Build) -> None:
    sticky = build.parser.parse(
        build.raw(
            "StickyPolicy",
            "team",
            "ai",
            models=["a/*"],
            mode="Off",
            identity={"headers": ["X-Thread"]},
            memory={"ttl": "1h", "maxProviders": 2},
            failover={"policy": "SaveCache", "saveCacheWithin": "1500ms", "maxAttempts": 5},
            spread={"withinPercent": 0},
            clientOrder="StickyWithin",
            holdFirst="1500ms",
            showHeaders=["Cost"],
            routing="Header",
        )
    )
    assert sticky.routing == "Header"
    assert sticky.policy == Policy(
        "ai/team", ("a/*",), "Off", ("x-thread",), 3600.0, 2, "SaveCache", 1.5, 5, 0.0, "StickyWithin",
        hold_first_s=1.5, shown_headers=("Cost",),
    )  # fmt: skip


@pytest.mark.parametrize(("policy", "within_s"), [("SaveRequest", 0.0), ("SaveCache", 5.0)])
def test_only_save_cache_waits_for_the_warm_provider(build: Build, policy: str, within_s: float) -> None:
    sticky = build.parser.parse(build.raw("StickyPolicy", failover={"policy": policy}))
    assert sticky.policy.save_cache_within_s == within_s


@pytest.mark.parametrize(
    ("written", "limits"),
    [
        (
            {"concurrentRequests": 200, "requestsPerMinute": 3000, "tokensPerMinute": 2000000},
            Limits(200, 3000, 2000000),
        ),
        ({"requestsPerMinute": 5}, Limits(None, 5, None)),
        ({}, None),
    ],
)
def test_limits_of_a_provider(build: Build, written: dict[str, int], limits: Limits | None) -> None:
    assert build.parser.parse(build.raw("Provider", limits=written)).limits == limits


def test_secret_decodes_and_hides(build: Build) -> None:
    raw = build.secret(plain="as it is") | {"data": {"coded": "c2st\nMQ==", "plain": "bG9zZXM="}}
    secret = build.parser.parse(raw)
    assert secret.values == {"coded": b"sk-1", "plain": b"as it is"}
    assert "sk-1" not in repr(secret)
    assert "as it is" not in repr(secret)
    assert "hush" not in f"{SecretText('hush')} {SecretText('hush')!r}"
    assert SecretText("hush").reveal() == "hush"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"data": {"k": "not base64!"}}, "data.k: is not base64; encode it, or write it as it is below stringData"),
        ({"stringData": {"k": 5}}, "stringData.k: is not a string; write it in quotes"),
        ({"data": ["k"]}, "data: write keys and values below it"),
        ({"metadata": {}}, "metadata.name: is missing; give the object a name"),
    ],
)
def test_bad_secret(build: Build, change: dict[str, object], problem: str) -> None:
    assert build.parser.parse(build.secret(k="v") | change).message == problem


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"apiVersion": None}, "apiVersion: is missing; write limpet.dev/v1alpha1"),
        ({"apiVersion": "limpet.dev/v1"}, 'apiVersion: "limpet.dev/v1" is not known; write limpet.dev/v1alpha1'),
        (
            {"kind": "Pricings"},
            (
                'kind: "Pricings" is not known; write one of Provider, Pricing, HealthProbe, StickyPolicy; '
                "did you mean Pricing?"
            ),
        ),
        ({"kind": None}, "kind: is missing; write one of Provider, Pricing, HealthProbe, StickyPolicy"),
        ({"metadata": None}, "metadata.name: is missing; give the object a name"),
        (
            {"metadata": {"name": "Deep_Seek"}},
            (
                'metadata.name: "Deep_Seek" is not a valid name; '
                "write lower-case letters, digits, '-' and '.' (only digits: in quotes)"
            ),
        ),
        (
            {"metadata": {"name": "a", "namespace": "a/b"}},
            "metadata.namespace: \"a/b\" is not a valid namespace; write lower-case letters, digits and '-'",
        ),
        (
            {"metadata": {"name": "a", "labels": {"a": 1}}},
            "metadata.labels: names and values must be strings; write them in quotes",
        ),
        ({"specs": {}}, "specs: no such field; did you mean spec?"),
        ({"spec": []}, "spec: is []; write fields below it"),
        ({"spec": None}, "spec: is empty; write fields below it or remove the field"),
    ],
)
def test_bad_frame(build: Build, change: dict[str, object], problem: str) -> None:
    result = build.parser.parse(build.raw("Provider") | change)
    assert isinstance(result, Invalid)
    assert result.message == problem


@pytest.mark.parametrize("raw", [{}, {"sellers": []}, {"apiVersion": "apps/v1", "kind": "Deployment"}])
def test_what_is_not_ours_is_passed_over(build: Build, raw: dict[str, object]) -> None:
    assert isinstance(build.parser.parse(raw), Foreign)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=8), below, max_size=3),
    max_leaves=8,
)
FIELDS = ("vendor", "url", "credential", "models", "tls", "timeouts", "cache", "windows", "http", "memory", "identity")


@given(
    st.sampled_from(["Provider", "Pricing", "HealthProbe", "StickyPolicy"]),
    st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=4),
    st.dictionaries(st.sampled_from(["metadata", "spec", "apiVersion", "kind"]), JSON, max_size=1),
)
def test_parsing_never_raises(build: Build, kind: str, spec: dict[str, Any], change: dict[str, object]) -> None:
    build.parser.parse(build.raw(kind, **spec) | change)
