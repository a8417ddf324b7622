"""What of a price list a Pricing can hold: the CRD's limits, so that one odd model spoils no Pricing."""

from collections.abc import Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Final

from limpet_operator.pricelists.listed import ListedModel, ListedTier, ModelRemarks, OpenList, Remark
from limpet_operator.pricelists.pricing import MOST_WINDOWS

_MOST_TIERS: Final = 4
_MOST_SERVICE_TIERS: Final = 16
_LONGEST_MODEL: Final = 256
_LONGEST_SERVICE_TIER: Final = 64
"""What the CRD allows; it takes names that can be written, too."""


def fitting(prices: OpenList) -> OpenList:
    """The same list without what a Pricing can't hold, each with a remark."""
    made: list[Remark] = list(prices.remarks)
    providers: dict[str, dict[str, ListedModel]] = {}
    for provider, models in prices.providers.items():
        for name, listed in models.items():
            remarks = ModelRemarks(provider, name)
            if not _is_name(name, _LONGEST_MODEL):
                remarks.add(f"its name is empty, longer than {_LONGEST_MODEL} or can't be written: left out")
            else:
                providers.setdefault(provider, {})[name] = _fitting(listed, remarks)
            made += remarks.made
    return replace(prices, providers=providers, remarks=tuple(made))


def fitting_hours(provider: str, models: Mapping[str, ListedModel]) -> tuple[dict[str, ListedModel], list[Remark]]:
    """The models of one Pricing without the hours that are too many for it, and a remark about each that loses some.

    Those with the fewest hours come first, so that as many as can be keep theirs.
    """
    kept, made = dict(models), list[Remark]()
    windows: set[tuple[tuple[str, ...], str, str, str]] = set()
    for name, listed in sorted(models.items(), key=lambda each: (len(each[1].hours), each[0])):
        together = windows | {hours.when for hours in listed.hours}
        if len(together) <= MOST_WINDOWS:
            windows = together
            continue
        text = f"with its hours the Pricing would have {len(together)} windows, and it takes {MOST_WINDOWS}"
        made.append(Remark(provider, name, f"{text}: left out, so its usual prices count at all hours"))
        kept[name] = replace(listed, hours=())
    return kept, made


def _fitting(listed: ListedModel, remarks: ModelRemarks) -> ListedModel:
    tiers, services = _tiers(listed.tiers, remarks), _services(listed.service_tiers, remarks)
    return replace(listed, tiers=tiers, service_tiers=services)


def _tiers(tiers: tuple[ListedTier, ...], remarks: ModelRemarks) -> tuple[ListedTier, ...]:
    if len(tiers) <= _MOST_TIERS:
        return tiers
    kept = sorted(tiers, key=lambda tier: tier.above_tokens)[:_MOST_TIERS]
    remarks.add(
        f"has {len(tiers)} tiers, and a Pricing takes {_MOST_TIERS}: "
        f"left out are those of longer prompts, which count as above {kept[-1].above_tokens:,} tokens"
    )
    return tuple(kept)


def _services(services: Mapping[str, Decimal], remarks: ModelRemarks) -> Mapping[str, Decimal]:
    named = {name: factor for name, factor in services.items() if _is_name(name, _LONGEST_SERVICE_TIER)}
    if len(named) < len(services):
        remarks.add("a service_tier whose name is too long or can't be written: left out")
    if len(named) <= _MOST_SERVICE_TIERS:
        return named
    remarks.add(
        f"has {len(named)} service tiers, and a Pricing takes {_MOST_SERVICE_TIERS}: "
        "left out are the last by name, whose requests count at the usual prices"
    )
    return dict(sorted(named.items())[:_MOST_SERVICE_TIERS])


def _is_name(text: str, longest: int) -> bool:
    return 0 < len(text) <= longest and text.isprintable()
