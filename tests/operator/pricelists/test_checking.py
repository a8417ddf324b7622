"""Applied prices are compared with a list by what holds, not by how it is written."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.operator.conftest import Build
from tests.operator.pricelists.samples import LITELLM, MODELS_DEV, read

from limpet_operator.pricelists.checking import CheckedPrice, checked, exit_status_of

_MONDAY_NOON_S = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
_VENDOR = {"kelp-large": "kelp", "tide-1": "tides"}
_TIDE = {"input": "0.4", "cacheRead": "0.04", "output": "1.6"}
_LOW = {"input": "0.20", "cacheRead": "0.02", "output": "0.8"}
_PEAK = {"name": "peak", "days": ["Mon", "Tue", "Wed", "Thu", "Fri"], "from": "01:00", "to": "10:00", "factor": "2"}
_KELP = {"input": "2", "cacheRead": "0.2", "cacheWrite": "2.5", "cacheWrite1h": "4", "output": "10"}
_LONG = {"input": "4", "cacheRead": "0.4", "cacheWrite": "5", "cacheWrite1h": "9", "output": "15"}
_FLEX = [{"name": "flex", "factor": "0.5"}]


def _check(build: Build, listed: dict[str, Any], name: str, model: dict[str, Any], **spec: Any) -> list[CheckedPrice]:
    pricing = build.raw("Pricing", "p", models=[{"name": name, **model}], **spec)
    objects = build.objects(build.raw("Provider", models=[{"name": name}]), pricing)
    return list(checked(objects, read(listed), {"deepseek": _VENDOR[name]}, _MONDAY_NOON_S))


@pytest.mark.parametrize(
    ("listed", "name", "model", "spec", "text"),
    [
        (LITELLM, "tide-1", {"perMillionTokens": _LOW}, {"windows": [_PEAK]}, None),
        (
            LITELLM,
            "tide-1",
            {"perMillionTokens": _LOW},
            {},
            "from Tue 01:00 UTC input 0.2, cacheRead 0.02, output 0.8 and in the list 0.4, 0.04, 1.6",
        ),
        (
            LITELLM,
            "tide-1",
            {"perMillionTokens": _TIDE},
            {},
            "now input 0.4, cacheRead 0.04, output 1.6 and in the list 0.2, 0.02, 0.8",
        ),
        (
            LITELLM,
            "tide-1",
            {"perMillionTokens": _LOW | {"output": "1"}},
            {"windows": [_PEAK]},
            "now output 1 and in the list 0.8; from Tue 01:00 UTC output 2 and in the list 1.6",
        ),
        (
            LITELLM,
            "kelp-large",
            {
                "perMillionTokens": _KELP,
                "longContext": [{"aboveTokens": 200_000, "perMillionTokens": _LONG}],
                "serviceTiers": _FLEX,
            },
            {},
            None,
        ),
        (
            LITELLM,
            "kelp-large",
            {"perMillionTokens": _KELP, "longContext": [{"aboveTokens": 100_000, "factor": "2"}]},
            {},
            (
                "above 100,000 tokens input 4 and in the list no price of its own; "
                "above 200,000 tokens no price of its own and in the list input 4; "
                "service_tier flex times 1 and in the list times 0.5"
            ),
        ),
        (
            LITELLM,
            "kelp-large",
            {
                "perMillionTokens": {name: price for name, price in _KELP.items() if name != "cacheWrite1h"},
                "longContext": [{"aboveTokens": 200_000, "perMillionTokens": _LONG}],
                "serviceTiers": _FLEX,
            },
            {},
            "cacheWrite1h 2.5 and in the list 4",
        ),
        (
            MODELS_DEV,  # knows nothing of long writes, and no hours
            "kelp-large",
            {
                "perMillionTokens": _KELP,
                "longContext": [{"aboveTokens": 200_000, "perMillionTokens": _LONG}],
                "serviceTiers": _FLEX,
            },
            {"windows": [_PEAK]},
            None,
        ),
    ],
)
def test_a_model_is_as_in_the_list_or_it_is_said_how_it_differs(
    build: Build, listed: dict[str, Any], name: str, model: dict[str, Any], spec: dict[str, Any], text: str | None
) -> None:
    (result,) = _check(build, listed, name, model, **spec)
    assert (result.status, result.text) == (("ok", "") if text is None else ("differs", text))
    assert exit_status_of([result]) == (0 if text is None else 1)


def test_what_is_not_in_the_list_is_skipped_with_the_reason(build: Build) -> None:
    def results(vendor: str, listed_as: dict[str, str], *more: dict[str, Any]) -> list[str]:
        models = [{"name": "kelp-plan", "perMillionTokens": _LOW}, {"name": "rock", "perMillionTokens": _LOW}]
        provider = build.raw("Provider", vendor=vendor, models=[{"name": "kelp-plan"}, {"name": "rock"}])
        objects = build.objects(provider, build.raw("Pricing", "p", models=models), *more)
        found = list(checked(objects, read(MODELS_DEV), listed_as, _MONDAY_NOON_S))
        assert exit_status_of(found) == 1
        return list(map(str, found))

    assert results("DeepSeek", {"deepseek": "kelp"}) == [
        "skip    p kelp-plan: costs nothing in the list, which lists also write for what they do not know: left out",
        "skip    p rock: the list has no rock",
    ]
    (unknown,) = results("VLLM", {})
    assert unknown.startswith("skip    p: its vendor VLLM is not in the list; say what the list calls it: --provider ")
    other = build.raw("Pricing", "q", providerRef={"name": "gone"})
    bad = build.raw("Pricing", "r", models=[{"name": "m", "perMillionTokens": {"input": "cheap", "output": "1"}}])
    assert results("DeepSeek", {"deepseek": "kelp"}, other, bad)[0].startswith(
        "skip    r: it is not valid: spec.models"
    )
    assert "skip    q: there is no Provider gone beside it" in results("DeepSeek", {"deepseek": "kelp"}, other)[-1]


def test_a_pricing_that_is_not_in_force_is_not_compared(build: Build) -> None:
    models = [{"name": "tide-1", "perMillionTokens": _TIDE}]
    pricings = (build.raw("Pricing", name, models=models) for name in ("first", "second"))
    objects = build.objects(build.raw("Provider", models=[{"name": "tide-1"}]), *pricings)
    first, second = checked(objects, read(LITELLM), {"deepseek": "tides"}, _MONDAY_NOON_S)
    assert (first.pricing, first.status) == ("first", "differs")
    assert (second.pricing, second.status) == ("second", "skip")
    assert second.text.startswith("it is not in force: ")
