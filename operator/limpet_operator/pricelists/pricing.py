"""What a list says of some models -> a Pricing, as an object and as YAML that a person would write."""

from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

from limpet_operator.pricelists.listed import ListedModel, ListedRates
from limpet_operator.resources.problem import API_VERSION, DEFAULT_NAMESPACE

_STALE_AFTER: Final = "720h"
_MOST_MODELS: Final = 512
MOST_WINDOWS: Final = 32
"""What the CRD allows."""


class TooMuchError(Exception):
    """More than a Pricing takes; the message says what to do."""


def pricing_of(
    provider: str, namespace: str, models: Mapping[str, ListedModel], source: str, retrieved: str
) -> dict[str, Any]:
    """The Pricing of a Provider. Raises TooMuchError."""
    if len(models) > _MOST_MODELS:
        raise TooMuchError(
            f"{provider}: {len(models)} models, and a Pricing takes {_MOST_MODELS}; name those you use with --model"
        )
    windows = _windows(provider, models)
    spec = {
        "providerRef": {"name": provider},
        "currency": "USD",
        "source": {"name": source, "retrieved": retrieved},
        "staleAfter": _STALE_AFTER,
        "models": [_model(name, listed) for name, listed in sorted(models.items())],
        **({"windows": windows} if windows else {}),
    }
    metadata = {"name": provider} if namespace == DEFAULT_NAMESPACE else {"name": provider, "namespace": namespace}
    return {"apiVersion": API_VERSION, "kind": "Pricing", "metadata": metadata, "spec": spec}


def _model(name: str, listed: ListedModel) -> dict[str, Any]:
    model: dict[str, Any] = {"name": name, "perMillionTokens": _dollars(listed.rates)}
    if listed.tiers:
        model["longContext"] = [
            {"aboveTokens": tier.above_tokens, "perMillionTokens": _dollars(tier.rates)} for tier in listed.tiers
        ]
    if listed.service_tiers:
        model["serviceTiers"] = [
            {"name": tier, "factor": _text(factor)} for tier, factor in sorted(listed.service_tiers.items())
        ]
    return model


def _windows(provider: str, models: Mapping[str, ListedModel]) -> list[dict[str, Any]]:
    """Models with the same hours share a window."""
    together: dict[tuple[tuple[str, ...], str, str, str], list[dict[str, Any]]] = {}
    for name, listed in sorted(models.items()):
        for hours in listed.hours:
            priced: dict[str, Any] = {"name": name, "perMillionTokens": _dollars(hours.rates)}
            if listed.tiers:
                priced["longContext"] = []  # the list's prices of these hours hold at any length
            together.setdefault(hours.when, []).append(priced)
    if len(together) > MOST_WINDOWS:
        raise TooMuchError(
            f"{provider}: {len(together)} time windows, and a Pricing takes {MOST_WINDOWS};"
            " name the models that you use with --model"
        )
    return [
        {"name": f"hours-{number}", "timeZone": zone, "days": list(days), "from": start, "to": end, "models": priced}
        for number, ((days, start, end, zone), priced) in enumerate(together.items(), 1)
    ]


def _dollars(rates: ListedRates) -> dict[str, str]:
    prices = {
        "input": rates.input,
        "cacheRead": rates.cache_read,
        "cacheWrite": rates.cache_write,
        "cacheWrite1h": rates.cache_write_long,
        "output": rates.output,
    }
    return {name: _text(price) for name, price in prices.items() if price is not None}


def _text(value: Decimal) -> str:
    return f"{value.normalize():f}"
