"""Each model of the Pricings that are applied: as in a list, different, or not comparable, and why."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from limpet_operator.planning.plan import plan
from limpet_operator.pricelists.comparing import differences
from limpet_operator.pricelists.listed import OpenList
from limpet_operator.pricelists.matching import match, providers_of
from limpet_operator.pricelists.pricing import TooMuchError
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.provider import Provider

CheckStatus = Literal["ok", "differs", "skip"]


@dataclass(frozen=True, slots=True)
class CheckedPrice:
    """The result for one model of a Pricing, or for a Pricing as a whole, whose `model` is then empty."""

    status: CheckStatus
    pricing: str
    model: str
    text: str = ""

    def __str__(self) -> str:
        name = " ".join(filter(None, (self.pricing, self.model)))
        return f"{self.status:<8}{name}{f': {self.text}' if self.text else ''}"


def checked(objects: Objects, prices: OpenList, listed_as: Mapping[str, str], now_s: float) -> Iterator[CheckedPrice]:
    """`listed_as`: what the list calls a Provider, by the Provider's name, where its vendor does not tell."""
    for key, invalid in sorted(objects.invalid.items()):
        if key.kind == "Pricing":
            yield CheckedPrice("skip", key.display_name, "", f"it is not valid: {invalid.message}")
    planned = plan(objects, {})
    for pricing in objects.of(Pricing):
        accepted = planned.findings[pricing.key].accepted
        if accepted.reason == "Conflicted":
            yield CheckedPrice("skip", pricing.key.display_name, "", f"it is not in force: {accepted.message}")
            continue
        yield from _of_pricing(pricing, objects, prices, listed_as, now_s)


def exit_status_of(results: Sequence[CheckedPrice]) -> int:
    """0 if something was compared and nothing differs, else 1."""
    statuses = {result.status for result in results}
    return 0 if "ok" in statuses and "differs" not in statuses else 1


def _of_pricing(
    pricing: Pricing, objects: Objects, prices: OpenList, listed_as: Mapping[str, str], now_s: float
) -> Iterator[CheckedPrice]:
    name, ref = pricing.key.display_name, pricing.provider_ref
    provider = objects.find(Provider, ObjectKey("Provider", pricing.key.namespace, ref))
    found = provider if isinstance(provider, Provider) else None
    own = listed_as.get(ref)
    providers = (own,) if own else providers_of(found.vendor, prices) if found else ()
    if not providers:
        what = f"its vendor {found.vendor} is not in the list" if found else _missing(provider, ref)
        yield CheckedPrice("skip", name, "", f"{what}; say what the list calls it: --provider NAME-IN-THE-LIST={ref}")
        return
    upstream = {model.name: model.upstream_name for model in found.models} if found else {}
    for model, applied in pricing.prices.items():
        matched = match(model, (upstream.get(model, model), model), providers, prices)
        if matched.listed is None:
            yield CheckedPrice("skip", name, model, matched.problem)
            continue
        try:
            found_otherwise = differences(applied, matched.listed, now_s)
        except TooMuchError as error:
            yield CheckedPrice("skip", name, model, str(error))
            continue
        if found_otherwise:
            yield CheckedPrice("differs", name, model, "; ".join(found_otherwise))
        else:
            yield CheckedPrice("ok", name, model)


def _missing(provider: Provider | Invalid | None, name: str) -> str:
    return f"there is no Provider {name} beside it" if provider is None else f"its Provider {name} is not valid"
