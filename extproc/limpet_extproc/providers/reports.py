"""How all providers are doing, for the activity service: as this worker sees them, at the prices of now."""

from collections.abc import Mapping
from math import isfinite
from statistics import median
from typing import Final

from limpet_extproc.contract.activity import ProviderReport, ShownPrice
from limpet_extproc.contract.catalog import CacheUse, CatalogProvider
from limpet_extproc.contract.warm_sketch import warm_conversations
from limpet_extproc.decision.health import TROUBLES, HealthState
from limpet_extproc.decision.prices_now import PricesNow
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import Snapshot

MOST_PRICES: Final = 5_000
"""Of all providers together: a batch has to remain one message."""


def provider_reports(
    tables: Snapshot, states: ProviderStates, caches: Mapping[str, CacheUse] | None
) -> tuple[ProviderReport, ...]:
    """One for each provider of the catalog. `caches`: None where this worker does not see all conversations."""
    most_prices = max(1, MOST_PRICES // max(1, len(tables.providers)))
    in_trouble = _in_trouble(states)
    return tuple(
        _report(provider, states, in_trouble.get(provider.name), tables.prices, most_prices, caches)
        for provider in tables.providers.values()
    )


def _report(
    provider: CatalogProvider,
    states: ProviderStates,
    worst: HealthState | None,
    prices: PricesNow,
    most_prices: int,
    caches: Mapping[str, CacheUse] | None,
) -> ProviderReport:
    speeds = [
        speed
        for model in provider.models
        if (speed := states.speeds.get(model.name, {}).get(provider.name)) is not None and speed.answers
    ]
    first_token_s = [speed.first_token_s for speed in speeds if speed.first_token_s > 0]
    tokens_per_s = [speed.tokens_per_s for speed in speeds if speed.tokens_per_s > 0]
    use = None if caches is None else caches.get(provider.name)
    return ProviderReport(
        provider.name,
        worst.trouble or "up" if worst is not None else "up",
        worst.cause if worst is not None else "",
        worst.since_s if worst is not None else 0.0,
        provider.drain,
        median(first_token_s) if first_token_s else None,
        median(tokens_per_s) if tokens_per_s else None,
        None if caches is None else 0 if use is None else warm_conversations(use.warm),
        _prices(provider, prices, most_prices),
    )


def _prices(provider: CatalogProvider, prices: PricesNow, most: int) -> tuple[ShownPrice, ...]:
    shown = []
    for model in provider.models[:most]:
        now = prices.of(provider.name, model)
        if now is not None:
            price, until_s = now.price, now.until_s if isfinite(now.until_s) else 0.0
            shown.append(
                ShownPrice(
                    model.name, price.input, price.output, price.cache_read, price.cache_write, now.window, until_s
                )
            )
    return tuple(shown)


def _in_trouble(states: ProviderStates) -> dict[str, HealthState]:
    """The worst that is known of each provider that is not well, or of a model there."""
    worst: dict[str, HealthState] = {}
    of_models = (*states.by_model.items(), *states.probed.items())
    for provider, state in (*states.health.items(), *((scope[0], state) for scope, state in of_models)):
        known = worst.get(provider)
        if state.trouble is not None and (
            known is None or TROUBLES.index(state.trouble) > TROUBLES.index(known.trouble)
        ):
            worst[provider] = state
    return worst
