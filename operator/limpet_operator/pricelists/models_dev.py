"""The shape of models.dev's api.json: providers by id, with their models by id and a `cost` in dollars per million.

`cost.tiers` have the prices of longer prompts; before these there was `context_over_200k`, which is still written
beside them. `experimental.modes` are other prices for a field of the request, such as `service_tier`.
Source: the schema and README of the project, 2026.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any, Final

from limpet_operator.pricelists.listed import (
    ONE,
    ListedModel,
    ListedRates,
    ListedTier,
    ModelRemarks,
    OpenList,
    Remark,
    Repeated,
    complete,
    dollars,
    is_nothing,
    part,
    price_of,
    scaled,
    whole,
)

_RATES: Final = ("input", "output", "cache_read", "cache_write")
_READ: Final = (*_RATES, "tiers", "context_over_200k")
_OVER_200K: Final = 200_000
_NO_HOUR: Final = (
    "the list has no price of writes for an hour, so they count as cacheWrite: "
    "add cacheWrite1h where the vendor sells them, or import LiteLLM's list, which has it"
)
"""Of what costs more to write to the cache than to read as input: vendors with such a price have longer writes, too."""


def is_models_dev(document: Mapping[str, Any]) -> bool:
    """Whether the document has this shape."""
    return any(isinstance(each, dict) and isinstance(each.get("models"), dict) for each in document.values())


def read_models_dev(document: Mapping[str, Any]) -> OpenList:
    """All models with prices, and what of them could not be taken over."""
    providers: dict[str, dict[str, ListedModel]] = {}
    made: list[Remark] = []
    for provider, raw in document.items():
        if isinstance(raw, Repeated):
            made.append(Remark(provider, "", "stands in the list twice and not alike: left out"))
        for model, described in _object(_object(raw).get("models")).items():
            remarks = ModelRemarks(provider, model)
            if (listed := _model(described, remarks)) is not None:
                providers.setdefault(provider, {})[model] = listed
            made += remarks.made
    return OpenList("models.dev", providers, tuple(made))


def _model(described: object, remarks: ModelRemarks) -> ListedModel | None:
    if isinstance(described, Repeated):
        remarks.add("stands in the list twice and not alike: left out")
        return None
    cost = _object(_object(described).get("cost"))
    if not cost:
        remarks.add("no price in the list: left out")
        return None
    rates = complete(_prices(cost, "", remarks), "", remarks)
    if rates is None or is_nothing(rates, remarks):
        return None
    remarks.add_unread(
        name
        for name, value in cost.items()
        if name not in _READ and not (name == "reasoning" and dollars(value) == rates.output)
    )
    if rates.cache_write is not None and rates.cache_write > rates.input:
        remarks.add(_NO_HOUR)
    tiers = tuple(_tiers(cost, rates, remarks))
    return ListedModel(rates, tiers, service_tiers=dict(_modes(_object(described), rates, remarks)))


def _prices(cost: Mapping[str, Any], where: str, remarks: ModelRemarks) -> Mapping[str, Decimal]:
    prices = {name: price_of(cost, name, where, remarks, ONE) for name in _RATES}
    return {name: price for name, price in prices.items() if price is not None}


def _tiers(cost: Mapping[str, Any], base: ListedRates, remarks: ModelRemarks) -> Iterator[ListedTier]:
    tiers = cost.get("tiers")
    if tiers is None and "context_over_200k" in cost:
        tiers = [{**_object(cost["context_over_200k"]), "tier": {"type": "context", "size": _OVER_200K}}]
    if tiers is not None and not isinstance(tiers, list):
        remarks.add("its tiers are no list, or stand there twice: left out, so its usual prices count at any length")
    sizes: set[int] = set()
    for raw in map(_object, tiers if isinstance(tiers, list) else ()):
        tier = _object(raw.get("tier"))
        size = whole(tier.get("size"))
        if tier.get("type", "context") != "context" or not size or size in sizes:
            remarks.add("a tier that is no length of a prompt, or has one that another has: left out")
            continue
        sizes.add(size)
        where = f"above {size:,} tokens: "
        if (rates := part(_prices(raw, where, remarks), base, where, remarks)) is not None:
            yield ListedTier(size, scaled(rates, base))


def _modes(described: Mapping[str, Any], base: ListedRates, remarks: ModelRemarks) -> Iterator[tuple[str, Decimal]]:
    if _is_twice(described.get("experimental")):
        remarks.add("something of its modes stands in the list twice and not alike: left out")
    modes = _object(_object(described.get("experimental")).get("modes"))
    for mode, raw in modes.items():
        tier = _object(_object(_object(raw).get("provider")).get("body")).get("service_tier")
        cost = _object(_object(raw).get("cost"))
        if not cost:
            continue
        if not isinstance(tier, str) or not tier:
            remarks.add(f"the prices of mode {mode} are not those of a service_tier: left out")
            continue
        where = f"service_tier {tier}: "
        if (rates := part(_prices(cost, where, remarks), base, where, remarks)) is not None:
            if (factor := base.factor_to(rates)) is not None:
                yield tier, factor
            else:
                remarks.add(f"service_tier {tier} changes its prices by no one factor: left out")


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _is_twice(value: object) -> bool:
    return isinstance(value, Repeated) or any(map(_is_twice, _object(value).values()))
