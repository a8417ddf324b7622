"""The plan as the data plane gets it: no addresses, no credentials, only what a decision needs."""

from collections.abc import Sequence

from limpet_extproc.contract.catalog import NO_KEYS, Catalog, CatalogProvider, Model, catalog_of
from limpet_extproc.contract.client_keys import ClientKeys, ClientKeysMode
from limpet_extproc.contract.prices import PriceRules
from limpet_operator.planning.plan import Plan, PlannedProvider
from limpet_operator.publish.wait_levels import WaitLevel, level_of, wait_levels
from limpet_operator.resources.model_prices import ModelPrices
from limpet_operator.resources.provider import ProviderModel


def catalog(plan: Plan, client_keys: ClientKeysMode = "Off", *, debug: bool = False) -> Catalog:
    """Equal plans give equal revisions. `debug`: any client may ask for explanations."""
    clients = NO_KEYS if client_keys == "Off" else ClientKeys(client_keys, plan.client_keys)
    levels = wait_levels(planned.spec.timeouts for planned in plan.providers)
    providers = tuple(_provider(planned, levels) for planned in plan.providers)
    return catalog_of(providers, plan.policies, clients, debug=debug)


def _provider(planned: PlannedProvider, levels: Sequence[WaitLevel]) -> CatalogProvider:
    spec = planned.spec
    return CatalogProvider(
        name=planned.name,
        models=tuple(_model(model, planned.prices.get(model.name)) for model in spec.models),
        dialects=spec.dialects,
        caches=spec.cache.caches,
        cache_ttl_s=spec.cache.ttl_s,
        weight=spec.weight,
        drain=spec.drain,
        namespace=spec.key.namespace,
        zero_retention=spec.data_policy.zero_retention,
        trains_on_prompts=spec.data_policy.trains_on_prompts,
        reads_provider_object=spec.reads_provider_object,
        wait_level=level_of(spec.timeouts, levels),
        unstreamed_s=spec.timeouts.unstreamed_s,
        limits=spec.limits,
        always_reports_usage=spec.always_reports_usage,
        translated=spec.translated,
        endpoints=spec.endpoints,
        cache_fields=spec.cache_fields,
        prompt_caching=spec.prompt_caching,
        stream_usage=spec.stream_usage,
        affinity_header=spec.affinity_header,
    )


def _model(model: ProviderModel, prices: ModelPrices | None) -> Model:
    return Model(
        model.name,
        model.upstream_name,
        model.min_tokens,
        price=None if prices is None else prices.price,
        cache_key=model.cache_key,
        price_rules=PriceRules() if prices is None else prices.rules,
    )
