"""What is chosen of a list becomes Pricings that the CRD accepts and that charge what the list says."""

from decimal import Decimal
from typing import Any

import pytest
import yaml
from tests.operator.conftest import Build
from tests.operator.pricelists.samples import LITELLM, MODELS_DEV, read

from limpet_extproc.contract.prices import Price
from limpet_operator.pricelists.choosing import ChoiceError, chosen_by_name, chosen_for
from limpet_operator.pricelists.comparing import differences
from limpet_operator.pricelists.listed import ListedHours, ListedModel, ListedRates
from limpet_operator.pricelists.pricing import TooMuchError, pricing_of
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.provider import Provider
from limpet_operator.sources.readable_yaml import readable_yaml
from limpet_operator.sources.yaml_text import read_yaml


def _pricing(build: Build, provider: str, models: dict[str, ListedModel]) -> Pricing:
    text = readable_yaml([pricing_of(provider, "default", models, "LiteLLM", "2026-11-21")])
    parsed = build.parser.parse(yaml.safe_load(text))
    assert isinstance(parsed, Pricing), parsed
    return parsed


@pytest.mark.parametrize("listed", [LITELLM, MODELS_DEV])
def test_an_imported_list_is_accepted_and_charges_what_it_says(build: Build, listed: dict[str, Any]) -> None:
    for provider, models in read(listed).providers.items():
        pricing = _pricing(build, provider, dict(models))
        assert pricing.prices.keys() == models.keys()
        for name, model in models.items():
            assert differences(pricing.prices[name], model, 1_790_000_000.0) == []


def test_a_pricing_says_where_it_comes_from_and_what_all_costs(build: Build) -> None:
    pricing = _pricing(build, "kelp", dict(read(LITELLM).providers["kelp"]))
    assert pricing.source is not None
    assert (pricing.source.name, pricing.source.retrieved, pricing.stale_after_s) == (
        "LiteLLM",
        "2026-11-21",
        720 * 3600,
    )
    large = pricing.prices["kelp-large"]
    assert large.price == Price(2.0, 10.0, 0.2, 2.5, 4.0)
    assert large.rules.service_tiers == {"flex": 0.5}
    assert [tier.above_tokens for tier in large.rules.tiers] == [200_000]


def test_yaml_for_people() -> None:
    models = dict(read(LITELLM).providers["tides"])
    text = readable_yaml([pricing_of("tides", "team-a", models, "LiteLLM", "2026-11-21")])
    assert text.startswith(
        """\
apiVersion: limpet.dev/v1alpha1
kind: Pricing
metadata: {name: tides, namespace: team-a}
spec:
  providerRef: {name: tides}
  currency: USD
  source: {name: LiteLLM, retrieved: "2026-11-21"}
  staleAfter: "720h"
  models:
  - name: tide-1
    perMillionTokens: {input: "0.4", cacheRead: "0.04", output: "1.6"}
  windows:
  - name: hours-1
    timeZone: UTC
    days: [Mon, Tue, Wed, Thu, Fri]
    from: "00:00"
    to: "01:00"
    models:
    - name: tide-1
      perMillionTokens: {input: "0.2", cacheRead: "0.02", output: "0.8"}
"""
    )


_RATES = ListedRates(Decimal(1), Decimal(2))


@pytest.mark.parametrize(
    ("models", "problem"),
    [
        ({f"m{number}": ListedModel(_RATES) for number in range(513)}, "513 models, and a Pricing takes 512; name"),
        (
            {
                "m": ListedModel(
                    _RATES, hours=tuple(ListedHours(("Mon",), "00:00", f"00:{end}", _RATES) for end in range(10, 43))
                )
            },
            "33 time windows, and a Pricing takes 32; name the models that you use with --model",
        ),
    ],
)
def test_more_than_a_pricing_takes_is_said(models: dict[str, ListedModel], problem: str) -> None:
    with pytest.raises(TooMuchError, match=problem):
        pricing_of("p", "default", models, "LiteLLM", "2026-11-21")


@pytest.mark.parametrize(
    "name",
    ["y", "N", "yes", "on", "null", "~", "0o7", "1_000", "12:30", "2026-11-20", ".inf", "<<", "=", "a: b", "*", "#"],
)
def test_any_name_comes_back_as_it_was(name: str) -> None:
    models = {name: ListedModel(_RATES, service_tiers={name: Decimal(2)})}
    read_back = read_yaml(readable_yaml([pricing_of("p", "default", models, "LiteLLM", "2026-11-21")]))
    (model,) = read_back["spec"]["models"]
    assert (model["name"], model["serviceTiers"][0]["name"]) == (name, name)


@pytest.mark.parametrize(
    ("providers", "models", "chosen"),
    [
        (["tides"], [], [("tides", ["tide-1"])]),
        (["tides=sea", "kelp"], [], [("sea", ["tide-1"]), ("kelp", ["kelp-large"])]),
        (["kelp"], ["kelp-*"], [("kelp", ["kelp-large"])]),
        (["kelp"], ["kelp-large=big"], [("kelp", ["big"])]),
        (["kelp", "tides"], ["tide-?"], [("kelp", []), ("tides", ["tide-1"])]),
    ],
)
def test_what_a_user_names(providers: list[str], models: list[str], chosen: list[tuple[str, list[str]]]) -> None:
    found = chosen_by_name(read(LITELLM), providers, models)
    assert [(each.provider, list(each.models)) for each in found] == chosen


def test_the_only_provider_needs_no_name_and_remarks_are_those_of_what_is_chosen() -> None:
    (all_of_it,) = chosen_by_name(read(MODELS_DEV), [], [])
    assert (all_of_it.provider, len(all_of_it.remarks)) == ("kelp", 5)
    (old,) = chosen_by_name(read(MODELS_DEV), [], ["kelp-old", "kelp-new"])
    assert (list(old.models), [each.text for each in old.remarks]) == (
        ["kelp-old"],
        ["no price in the list: left out"],
    )


@pytest.mark.parametrize(
    ("providers", "models", "problem"),
    [
        ([], [], "the list has 2 providers, name yours with --provider: kelp, tides"),
        (["tide"], [], "the list has no provider tide; did you mean tides?"),
        (["shell"], [], "the list has no provider shell; it has kelp, tides"),
        (["kelp=Our Kelp"], [], '"Our Kelp" can be no name of a Provider; write --provider kelp=YOUR-PROVIDER'),
        (["kelp=a", "tides=a"], [], "two providers of the list would be a; give each a name: --provider tides=NAME"),
        (["kelp"], ["kelp-larg"], "the list has no model kelp-larg there; did you mean kelp-large?"),
    ],
)
def test_a_wrong_name_is_answered_with_what_there_is(providers: list[str], models: list[str], problem: str) -> None:
    with pytest.raises(ChoiceError) as refused:
        chosen_by_name(read(LITELLM), providers, models)
    assert str(refused.value) == problem


def _provider(build: Build, name: str, vendor: str, *models: tuple[str, str], namespace: str = "default") -> Provider:
    listed = [{"name": ours, "upstreamName": upstream} for ours, upstream in models]
    raw = build.raw("Provider", name, namespace, vendor=vendor, models=listed)
    parsed = build.parser.parse(raw)
    assert isinstance(parsed, Provider), parsed
    return parsed


_DEEPSEEK = {
    name: {**LITELLM["tides/tide-1"], "litellm_provider": "deepseek"} for name in ("deepseek/tide-1", "deepseek/tide-2")
}


def test_a_pricing_for_each_provider_by_its_vendor_and_its_names(build: Build) -> None:
    objects = [
        _provider(build, "a", "DeepSeek", ("our/tide", "tide-1"), ("x/tide-2", "made-up"), namespace="team"),
        _provider(build, "b", "DeepSeek", ("tide-3", "tide-3")),
        _provider(build, "c", "VLLM", ("tide-1", "tide-1")),
    ]
    a, b, c = chosen_for(objects, read(_DEEPSEEK), [], [])
    assert (a.provider, a.namespace, sorted(a.models), a.remarks) == ("a", "team", ["our/tide", "x/tide-2"], ())
    assert [each.text for each in b.remarks] == ["the list has no tide-3; did you mean tide-2?"]
    assert "no provider for its vendor VLLM; name one: --provider NAME-IN-THE-LIST=c" in c.remarks[0].text
    (named,) = chosen_for(objects, read(_DEEPSEEK), ["deepseek=c"], [])
    assert (named.provider, list(named.models)) == ("c", ["tide-1"])
    (one,) = chosen_for(objects, read(_DEEPSEEK), ["a"], ["our/*"])
    assert list(one.models) == ["our/tide"]


@pytest.mark.parametrize(
    ("providers", "problem"),
    [
        (["d"], "there is no Provider d"),
        (["deepsek=a"], "the list has no provider deepsek; did you mean deepseek?"),
    ],
)
def test_a_wrong_provider_of_ours_is_named(build: Build, providers: list[str], problem: str) -> None:
    with pytest.raises(ChoiceError) as refused:
        chosen_for([_provider(build, "a", "DeepSeek", ("m", "m"))], read(_DEEPSEEK), providers, [])
    assert str(refused.value) == problem
