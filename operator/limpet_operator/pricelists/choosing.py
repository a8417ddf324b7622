"""Which models of a price list become which Pricing: by what a user names, or by the Providers that there are."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from limpet_operator.pricelists.listed import ListedModel, OpenList, Remark
from limpet_operator.pricelists.matching import models_of, providers_of
from limpet_operator.resources.metadata import is_object_name
from limpet_operator.resources.problem import DEFAULT_NAMESPACE, did_you_mean, shown
from limpet_operator.resources.provider import Provider

_SHOWN: Final = 12
_NOT_IN_A_NAME: Final = re.compile(r"[^a-z0-9-]+")


class ChoiceError(Exception):
    """Nothing of the list is meant; the message says what there is."""


@dataclass(frozen=True, slots=True)
class ChosenPrices:
    """What becomes one Pricing."""

    provider: str
    """Our Provider."""
    namespace: str
    models: Mapping[str, ListedModel]
    """By our name."""
    remarks: tuple[Remark, ...]
    """About these models and those that are missing."""


def chosen_by_name(prices: OpenList, providers: Sequence[str], models: Sequence[str]) -> list[ChosenPrices]:
    """`providers`: of the list, as `NAME` or `NAME=OUR-NAME`; `models` alike, or patterns. Raises ChoiceError."""
    if not prices.providers:
        raise ChoiceError("the list has no provider with a price that can be taken")
    if not providers and len(prices.providers) != 1:
        raise ChoiceError(
            f"the list has {len(prices.providers)} providers, name yours with --provider: {_some(prices.providers)}"
        )
    wanted = [_pair(each) for each in models]
    chosen: list[ChosenPrices] = []
    for listed, ours in map(_pair, providers or prices.providers):
        if listed not in prices.providers:
            if left_out := next((each for each in prices.remarks if (each.provider, each.model) == (listed, "")), None):
                raise ChoiceError(f"{listed} {left_out.text}")
            there_are = f"; it has {_some(prices.providers)}"
            raise ChoiceError(f"the list has no provider {listed}{did_you_mean(listed, prices.providers) or there_are}")
        known = prices.providers[listed]
        name = ours or _NOT_IN_A_NAME.sub("-", listed.lower()).strip("-")
        if not is_object_name(name):
            raise ChoiceError(
                f"{shown(ours or listed)} can be no name of a Provider; write --provider {listed}=YOUR-PROVIDER"
            )
        if any(each.provider == name for each in chosen):
            raise ChoiceError(f"two providers of the list would be {name}; give each a name: --provider {listed}=NAME")
        taken = {our or model: known[model] for pattern, our in wanted for model in known if _means(pattern, model)}
        about = tuple(
            each
            for each in prices.remarks
            if each.provider == listed and (not wanted or any(_means(pattern, each.model) for pattern, _ in wanted))
        )
        chosen.append(ChosenPrices(name, DEFAULT_NAMESPACE, taken if wanted else known, about))
    _require_all(wanted, [each for listed, _ in map(_pair, providers) for each in prices.providers[listed]], chosen)
    return chosen


def chosen_for(
    objects: Iterable[Provider], prices: OpenList, providers: Sequence[str], models: Sequence[str]
) -> list[ChosenPrices]:
    """A Pricing for each of these Providers, by their vendors.

    `providers`: those of ours that are meant, as `NAME`, or `NAME-IN-THE-LIST=NAME` where the vendor does not tell;
    `models`: patterns of our names. Raises ChoiceError.
    """
    objects = list(objects)
    pairs = [_pair(each) for each in providers]
    named = {(ours or listed): (listed if ours else None) for listed, ours in pairs}
    known = [each.key.name for each in objects]
    for name in named:
        if name not in known:
            raise ChoiceError(f"there is no Provider {name}{did_you_mean(name, known)}")
    for listed in filter(None, named.values()):
        if listed not in prices.providers:
            raise ChoiceError(f"the list has no provider {listed}{did_you_mean(listed, prices.providers)}")
    return [
        _for_provider(each, prices, named.get(each.key.name), models)
        for each in objects
        if not named or each.key.name in named
    ]


def _for_provider(provider: Provider, prices: OpenList, listed_as: str | None, patterns: Sequence[str]) -> ChosenPrices:
    listed = (listed_as,) if listed_as else providers_of(provider.vendor, prices)
    name = provider.key.name
    if not listed:
        text = (
            f"the list has no provider for its vendor {provider.vendor}; name one: --provider NAME-IN-THE-LIST={name}"
        )
        return ChosenPrices(name, provider.key.namespace, {}, (Remark(name, "", text),))
    models: dict[str, ListedModel] = {}
    remarks: list[Remark] = []
    for each in models_of(provider, listed, prices):
        if patterns and not any(_means(pattern, each.name) for pattern in patterns):
            continue
        about = [remark for remark in prices.remarks if (remark.provider, remark.model) == each.listed_as]
        if each.listed is not None:
            models[each.name] = each.listed
        elif not about:
            about = [Remark(name, each.name, each.problem)]
        remarks += about
    return ChosenPrices(name, provider.key.namespace, models, tuple(remarks))


def _require_all(wanted: Sequence[tuple[str, str]], known: Sequence[str], chosen: Sequence[ChosenPrices]) -> None:
    remarks = [each for one in chosen for each in one.remarks]
    for pattern, ours in wanted:
        found = [model for one in chosen for model in one.models if _means(pattern, model) or model == ours]
        if not found and not any(_means(pattern, each.model) for each in remarks):
            raise ChoiceError(f"the list has no model {pattern} there{did_you_mean(pattern, known)}")


def _pair(text: str) -> tuple[str, str]:
    name, _, ours = text.partition("=")
    return name, ours


def _means(pattern: str, model: str) -> bool:
    return pattern == model or fnmatchcase(model, pattern)


def _some(names: Iterable[str]) -> str:
    names = sorted(names)
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
