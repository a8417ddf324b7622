"""The shape of LiteLLM's model_prices_and_context_window.json: models by name, with their provider and prices.

Prices are dollars per token, under names that are put together: what is charged, how long a write stays, above which
length of the prompt, at which service tier, as in `cache_creation_input_token_cost_above_1hr_above_200k_tokens`. Longer
prompts may instead stand in `tiered_pricing`, other hours in `off_peak_pricing`, whose prices hold at any length.
Source: the project's cost map and its documentation of off-peak prices, 2026.
"""

import re
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from limpet_operator.pricelists.listed import (
    MOST_TOKENS,
    ListedModel,
    ListedRates,
    ListedTier,
    ModelRemarks,
    OpenList,
    Remark,
    Repeated,
    complete,
    is_nothing,
    part,
    price_of,
    scaled,
    whole,
)
from limpet_operator.pricelists.litellm_hours import off_peak_hours

_PER_TOKEN: Final = Decimal(1_000_000)
_FIELDS: Final = {
    "input_cost_per_token": "input",
    "output_cost_per_token": "output",
    "cache_read_input_token_cost": "cache_read",
    "input_cost_per_token_cache_hit": "cache_read",
    "cache_creation_input_token_cost": "cache_write",
}
_NAME: Final = re.compile(
    rf"(?P<what>{'|'.join(sorted(_FIELDS, key=len, reverse=True))})"
    r"(?:_above_(?P<hours>\d{1,3})hr)?(?:_above_(?P<above>\d{1,9})(?P<k>k?)_tokens)?(?:_(?P<service>[a-z]+))?"
)
_KINDS: Final = (None, "chat", "responses")
_NOT_A_MODEL: Final = "sample_spec"
_BATCHES: Final = "batches"
"""Of another API, whose requests are not routed by price."""
_REASONING: Final = "output_cost_per_reasoning_token"

_Level = tuple[int, str]
"""Above how many tokens, at which service tier."""


def is_litellm(document: Mapping[str, Any]) -> bool:
    """Whether the document has this shape."""
    return any(isinstance(each, dict) and "litellm_provider" in each for each in document.values())


def read_litellm(document: Mapping[str, Any]) -> OpenList:
    """All models for conversations with prices, and what of them could not be taken over."""
    providers: dict[str, dict[str, ListedModel]] = {}
    made: list[Remark] = []
    unlike: set[tuple[str, str]] = set()
    for name, raw in document.items():
        if name == _NOT_A_MODEL or (isinstance(raw, dict) and raw.get("mode") not in _KINDS):
            continue
        provider = str(raw.get("litellm_provider", "")) if isinstance(raw, dict) else name.partition("/")[0]
        model = _without_provider(name, provider)
        remarks = ModelRemarks(provider, model)
        models = providers.setdefault(provider, {})
        listed = _model(raw, remarks)
        if listed is not None and models.setdefault(model, listed) != listed:
            remarks.add(f"stands in the list twice, once as {name}, and not alike: left out")
            unlike.add((provider, model))
        made += remarks.made
    for provider, model in unlike:
        del providers[provider][model]
    return OpenList("LiteLLM", {name: models for name, models in providers.items() if models}, tuple(made))


def _without_provider(name: str, provider: str) -> str:
    first, slash, rest = name.partition("/")
    return rest if slash and provider.startswith(first) else name


def _model(raw: object, remarks: ModelRemarks) -> ListedModel | None:
    if isinstance(raw, Repeated) or not isinstance(raw, dict):
        remarks.add("stands in the list twice and not alike, or is no model: left out")
        return None
    levels = _levels(raw, remarks)
    base = complete(levels.get((0, ""), {}), "", remarks)
    if base is None or is_nothing(base, remarks):
        return None
    remarks.add_unread(
        name for name in raw if "cost" in name and not _NAME.fullmatch(name) and not _is_output(name, raw)
    )
    return ListedModel(
        base,
        tuple(_tiers(levels, base, remarks)),
        tuple(off_peak_hours(raw.get("off_peak_pricing"), _off_peak_rates(raw, base, remarks), remarks)),
        dict(_services(levels, base, remarks)),
    )


def _is_output(name: str, raw: Mapping[str, Any]) -> bool:
    return name == _REASONING and raw[name] == raw.get("output_cost_per_token")


def _levels(raw: Mapping[str, Any], remarks: ModelRemarks) -> Mapping[_Level, Mapping[str, Decimal]]:
    levels: dict[_Level, dict[str, Decimal]] = {}
    kept_h: dict[_Level, int] = {}
    for name in raw:
        parts = _NAME.fullmatch(name)
        if parts is None or parts["service"] == _BATCHES:
            continue
        price = price_of(raw, name, "", remarks, _PER_TOKEN)
        above = int(parts["above"] or 0) * (1000 if parts["k"] else 1)
        level = (above, parts["service"] or "")
        if price is None:
            continue
        if above > MOST_TOKENS:
            remarks.add(f"above {above:,} tokens: no prompt is as long: left out")
            continue
        if parts["hours"] is None:
            levels.setdefault(level, {}).setdefault(_FIELDS[parts["what"]], price)
        elif int(parts["hours"]) < kept_h.get(level, 1_000):  # of several, what an hour costs
            kept_h[level] = int(parts["hours"])
            levels.setdefault(level, {})["cache_write_long"] = price
    _add_ranges(levels, raw.get("tiered_pricing"), remarks)
    return levels


def _add_ranges(levels: dict[_Level, dict[str, Decimal]], tiers: object, remarks: ModelRemarks) -> None:
    if tiers is not None and not isinstance(tiers, list):
        remarks.add(
            "tiered_pricing is no list, or stands there twice: left out, so its usual prices count at any length"
        )
    for tier in tiers if isinstance(tiers, list) else ():
        bounds = tier.get("range") if isinstance(tier, dict) else None
        begin = whole(bounds[0]) if isinstance(bounds, list) and bounds else None
        if begin is None:
            remarks.add("a tier without a range of tokens: left out")
            continue
        for name, field in _FIELDS.items():
            if (price := price_of(tier, name, f"above {begin:,} tokens: ", remarks, _PER_TOKEN)) is not None:
                levels.setdefault((begin, ""), {}).setdefault(field, price)


def _tiers(
    levels: Mapping[_Level, Mapping[str, Decimal]], base: ListedRates, remarks: ModelRemarks
) -> Iterator[ListedTier]:
    for (above, service), prices in sorted(levels.items()):
        if above and not service:
            usual = {"input": base.input, "output": base.output}
            if (rates := part({**usual, **prices}, base, f"above {above:,} tokens: ", remarks)) is not None:
                yield ListedTier(above, scaled(rates, base))


def _services(
    levels: Mapping[_Level, Mapping[str, Decimal]], base: ListedRates, remarks: ModelRemarks
) -> Iterator[tuple[str, Decimal]]:
    for (above, service), prices in sorted(levels.items()):
        if not service or above:
            continue
        rates = part(prices, base, f"service_tier {service}: ", remarks)
        if rates is None:
            continue
        if (factor := base.factor_to(rates)) is not None:
            yield service, factor
        else:
            remarks.add(f"service_tier {service} changes its prices by no one factor: left out")


def _off_peak_rates(raw: Mapping[str, Any], base: ListedRates, remarks: ModelRemarks) -> ListedRates | None:
    """The prices of other hours: those that are not named stay as they are. None, with a remark, if they are none."""
    block = raw.get("off_peak_pricing")
    found = {
        field: price
        for name, field in _FIELDS.items()
        if isinstance(block, dict)
        and (price := price_of(block, name, "off_peak_pricing: ", remarks, _PER_TOKEN)) is not None
    }
    names = ("input", "output", "cache_read", "cache_write", "cache_write_long")
    usual = {name: getattr(base, name) for name in names if getattr(base, name) is not None}
    return part({**usual, **found}, base, "off_peak_pricing: ", remarks)
