"""The catalog as lookup tables: made when it arrives, swapped whole, read without locks.

A catalog is sent whole, however little has changed; what is the same in the one before is reused. Where a price window
turns, the lanes whose prices change are made anew.
"""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from math import inf
from typing import Final

import msgspec

from limpet_extproc.contract.apis import OBJECTS, DialectName
from limpet_extproc.contract.catalog import (
    CacheControl,
    CacheFields,
    Catalog,
    CatalogProvider,
    Limits,
    Model,
    Policy,
    PromptCaching,
)
from limpet_extproc.contract.prices import NextPrice, Price, PriceTier
from limpet_extproc.decision.clients import STRANGERS, Clients, clients_of
from limpet_extproc.decision.policies import Policies
from limpet_extproc.decision.pool import Pools
from limpet_extproc.decision.prices_now import NO_WINDOWS, PricesNow, prices_now
from limpet_extproc.decision.unbeaten import unbeaten


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """One provider as a choice for one model."""

    provider: str
    upstream_model: str
    price: Price | None
    """Now, of a prompt below all tiers; None: unknown."""
    caches: bool
    cache_ttl_s: float
    min_tokens: int
    weight: int
    drain: bool
    zero_retention: bool | None
    """Whether it keeps no prompts; None: unknown."""
    trains_on_prompts: bool | None
    reads_provider_object: bool
    """Whether it takes the client's `provider` object and keeps to it."""
    seed: bytes
    """The provider's part in rendezvous hashing: its name."""
    wait_level: int = 0
    unstreamed_s: float = 600.0
    limits: Limits | None = None
    translated: bool = False
    """Whether it does not speak the dialect of the lane, so that requests and answers are translated."""
    cache_key: bool = False
    """Whether a `prompt_cache_key` is added for it, as the lane's API has that field and it helps."""
    cache_fields: CacheFields = CacheFields()
    cache_control: CacheControl = "None"
    """Where it reads this of a request in the lane's API; of a translated one: after that."""
    prompt_caching: PromptCaching = "Off"
    """Its own or the policy's."""
    stream_usage: bool = True
    """Whether it takes `stream_options`."""
    takes_affinity: bool = False
    """Whether it takes the name of a conversation in a header."""
    tiers: tuple[PriceTier, ...] = ()
    """The prices now of longer prompts, by `above_tokens`, ascending."""
    service_tiers: Mapping[str, float] = {}
    """Factors on all prices by the service tier that a request names; 1 where it is absent."""
    next_price: NextPrice | None = None
    """When `price` changes next; None: it does not."""


@dataclass(frozen=True, slots=True)
class Lane:
    """All that can serve one model by one API, and the policy that holds for it."""

    model: str
    candidates: tuple[Candidate, ...]
    policy: Policy
    by_provider: Mapping[str, Candidate]
    drains: bool
    """Whether any of them takes no new conversations."""
    zero_weights: bool
    """Whether any has weight 0."""
    limited: bool
    """Whether any has limits."""
    marks: bool
    """Whether breakpoints may be added for any, see `adds_breakpoint`."""
    adds_keys: bool
    """Whether a `prompt_cache_key` is added for any."""
    cuts_options: bool
    """Whether any refuses `stream_options`."""
    takes_affinity: bool
    translates: bool
    """Whether requests are translated for any."""
    renames: bool
    """Whether any calls the model otherwise."""
    caches: bool = True
    """Whether any keeps prompts."""
    service_tiers: frozenset[str] = frozenset()
    """Those that change the price at any."""
    tiered: bool = False
    """Whether the length of the prompt changes the price at any."""
    only_marked: bool = False
    """Whether any caches only what a breakpoint marks."""
    plain_prices: tuple[Price, ...] = ()
    """That of each candidate, where it is the same for all requests; empty: not so."""
    min_tokens: Mapping[str, int] = field(default_factory=dict)
    """The shortest prompt that each caches; empty where all cache any."""
    stays: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """For each, from how many tokens on staying there pays, and for how many seconds its cache keeps a prompt; empty
    where that depends on more of a request."""
    unbeaten: frozenset[str] = frozenset()
    """Those that no conversation leaves for their prices."""
    draining: tuple[str, ...] = ()
    """Those that take no new conversations."""
    pools: Pools = field(default_factory=lambda: Pools(()), compare=False, repr=False)
    """The candidates, and those without some that are out, by what they cost."""

    @classmethod
    def of(cls, model: str, candidates: tuple[Candidate, ...], policy: Policy) -> "Lane":
        """The lane with its tables."""
        by_provider = {candidate.provider: candidate for candidate in candidates}
        drains = any(candidate.drain for candidate in candidates)
        zero_weights = any(candidate.weight == 0 for candidate in candidates)
        limited = any(candidate.limits is not None for candidate in candidates)
        marks = any(each.prompt_caching == "Auto" and each.cache_control != "None" for each in candidates)
        adds_keys = any(candidate.cache_key for candidate in candidates)
        cuts_options = any(not candidate.stream_usage for candidate in candidates)
        takes_affinity = any(candidate.takes_affinity for candidate in candidates)
        translates = any(candidate.translated for candidate in candidates)
        caches = any(candidate.caches for candidate in candidates)
        renames = any(candidate.upstream_model != model for candidate in candidates)
        return cls(
            model,
            candidates,
            policy,
            by_provider,
            drains,
            zero_weights,
            limited,
            marks,
            adds_keys,
            cuts_options,
            takes_affinity,
            translates,
            renames,
            caches,
            frozenset(name for candidate in candidates for name in candidate.service_tiers),
            any(candidate.tiers for candidate in candidates),
            any(candidate.cache_fields.only_marked for candidate in candidates),
            _plain_prices(candidates),
            {each.provider: each.min_tokens for each in candidates} if any(c.min_tokens for c in candidates) else {},
            _stays(candidates),
            unbeaten(candidates),
            tuple([candidate.provider for candidate in candidates if candidate.drain]),
            Pools(candidates),
        )


def _plain_prices(candidates: Sequence[Candidate]) -> tuple[Price, ...]:
    prices = [
        each.price
        for each in candidates
        if each.price is not None
        and not each.tiers
        and not each.service_tiers
        and each.price.cache_write == each.price.input
        and each.price.cache_write_long is None
    ]
    return tuple(prices) if len(prices) == len(candidates) else ()


def _stays(candidates: Sequence[Candidate]) -> dict[str, tuple[float, float]]:
    """`Lane.stays`, as `request_price.why_not_sticky` has it of each request."""
    if any(each.tiers or each.cache_fields.only_marked for each in candidates):
        return {}
    return {
        each.provider: (each.min_tokens, _whole(each.cache_ttl_s))
        if each.caches and (each.price is None or each.price.cache_read < each.price.input)
        else (inf, 0.0)
        for each in candidates
    }


def _whole(seconds: float) -> float:
    """The same as an int if it is one, which takes a third of the room in a record."""
    return int(seconds) if seconds == int(seconds) else seconds


_LaneKey = tuple[str, str]
"""`apis.Api.name` and the model."""
_KEYED: Final = frozenset({"OpenAIChat", "OpenAIResponses"})
"""APIs that have a `prompt_cache_key`."""
TRANSLATED: Final[DialectName] = "AnthropicMessages"
"""What requests are translated to."""
_Serving = list[tuple[CatalogProvider, Model, bool]]
"""The last one: whether it is translated."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A catalog's tables; `EMPTY` until the first catalog has come."""

    revision: str
    lanes: Mapping[_LaneKey, Lane]
    providers: Mapping[str, CatalogProvider] = field(default_factory=dict)
    """By name."""
    policies: Policies = field(default_factory=lambda: Policies(()))
    serving: Mapping[_LaneKey, _Serving] = field(default_factory=dict)
    """The inputs of each lane."""
    limited: Mapping[str, Limits] = field(default_factory=dict)
    """The limits of the providers that have any."""
    keeps_objects: bool = False
    """Whether any serves an API with objects besides responses, such as files."""
    translates: bool = False
    """Whether requests are translated for any."""
    prices: PricesNow = NO_WINDOWS
    """Of the models with price windows."""
    clients: Clients = STRANGERS
    """Those with a key."""
    debug: bool = False
    """See `Catalog`."""
    by_api: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """The models that are served by each API, in the order of the catalog."""

    def only_lane(self, api: str) -> Lane | None:
        """Of an API that is served for one model alone; None: for none, or for several."""
        found = self.by_api.get(api, ())
        return self.lanes[api, found[0]] if len(found) == 1 else None

    def object_lane(self, api: str, provider: str = "") -> Lane | None:
        """All that serve an API whatever the model, or this provider of them; None: nobody does."""
        several = self.providers.values() if not provider else (self.providers.get(provider),)
        serving = [(each, _NAMELESS, False) for each in several if each and api in (*each.dialects, *each.endpoints)]
        return _lane((api, ""), serving, self.policies) if serving else None

    def models(self, api: str) -> list[str]:
        """Names of all models that are served by this API, sorted."""
        return sorted(self.by_api.get(api, ()))


_NAMELESS: Final = Model("", "")
EMPTY = Snapshot(revision="", lanes={})


def snapshot(catalog: Catalog, before: Snapshot = EMPTY, now_s: float | None = None) -> Snapshot:
    """The tables of a catalog; providers keep its order, so equal catalogs give equal decisions everywhere.

    `before` only saves work, it never changes the outcome. `now_s`: Unix time, for prices; None: outside of all
    windows, whatever the hour.
    """
    # By identity from here on, which makes comparing a thousand of them cheap.
    providers = {each.name: _reused(before.providers.get(each.name), each) for each in catalog.providers}
    policies = before.policies if before.policies.all == catalog.policies else Policies(catalog.policies)
    serving: dict[_LaneKey, _Serving] = {}
    for provider in providers.values():
        for model in provider.models:
            for api in (*provider.dialects, *provider.endpoints):
                serving.setdefault((api, model.name), []).append((provider, model, False))
            for api in provider.translated:
                serving.setdefault((api, model.name), []).append((provider, model, True))
    prices = NO_WINDOWS if now_s is None else prices_now(providers.values(), now_s, before.prices)
    differing = prices.differing(before.prices)
    lanes = {
        key: before.lanes[key]
        if policies is before.policies and before.serving.get(key) == found and not _serves_any(found, differing)
        else _lane(key, found, policies, prices)
        for key, found in serving.items()
    }
    limited = {each.name: each.limits for each in providers.values() if each.limits is not None}
    keeps_objects = any(not OBJECTS.isdisjoint(each.endpoints) for each in catalog.providers)
    translates = any(each.translated for each in catalog.providers)
    clients = clients_of(catalog.client_keys, before.clients)
    return Snapshot(
        catalog.revision,
        lanes,
        providers,
        policies,
        serving,
        limited,
        keeps_objects,
        translates,
        prices,
        clients,
        catalog.debug,
        _by_api(lanes),
    )


def _by_api(lanes: Iterable[_LaneKey]) -> dict[str, tuple[str, ...]]:
    found: dict[str, list[str]] = {}
    for api, model in lanes:
        found.setdefault(api, []).append(model)
    return {api: tuple(models) for api, models in found.items()}


def repriced(tables: Snapshot, now_s: float) -> Snapshot:
    """The same tables with the prices of this Unix time; the very same if no window has turned."""
    if tables.prices.hold_at(now_s):
        return tables
    prices = prices_now(tables.providers.values(), now_s, tables.prices)
    differing = prices.differing(tables.prices)
    lanes = {
        key: _lane(key, found, tables.policies, prices) if _serves_any(found, differing) else tables.lanes[key]
        for key, found in tables.serving.items()
    }
    return replace(tables, lanes=lanes, prices=prices)


def _reused(old: CatalogProvider | None, new: CatalogProvider) -> CatalogProvider:
    return old if old is not None and old == new else new


def _serves_any(serving: _Serving, models: AbstractSet[tuple[str, str]]) -> bool:
    return bool(models) and any((provider.name, model.name) in models for provider, model, _ in serving)


def _lane(key: _LaneKey, serving: _Serving, policies: Policies, prices: PricesNow = NO_WINDOWS) -> Lane:
    api, model = key
    policy = policies.holding(model, {provider.namespace for provider, _, _ in serving})
    return Lane.of(model, tuple(_candidate(*each, api, policy.prompt_caching, prices) for each in serving), policy)


def _candidate(
    provider: CatalogProvider,
    model: Model,
    translated: bool,
    api: str,
    prompt_caching: PromptCaching,
    prices: PricesNow,
) -> Candidate:
    now = prices.of(provider.name, model)
    read = {str(name): where for name, where in provider.cache_fields.cache_control.items()}
    return Candidate(
        provider=provider.name,
        upstream_model=model.upstream_name,
        price=None if now is None else now.price,
        caches=provider.caches,
        cache_ttl_s=provider.cache_ttl_s,
        min_tokens=model.min_tokens,
        weight=provider.weight,
        drain=provider.drain,
        zero_retention=provider.zero_retention,
        trains_on_prompts=provider.trains_on_prompts,
        reads_provider_object=provider.reads_provider_object,
        seed=provider.name.encode(),
        wait_level=provider.wait_level,
        unstreamed_s=provider.unstreamed_s,
        limits=provider.limits,
        translated=translated,
        cache_key=model.cache_key and not translated and api in _KEYED,
        cache_fields=provider.cache_fields,
        cache_control=read.get(TRANSLATED if translated else api, "None"),
        prompt_caching="Auto" if prompt_caching == "Auto" else provider.prompt_caching,
        stream_usage=provider.stream_usage,
        takes_affinity=bool(provider.affinity_header),
        tiers=() if now is None else now.tiers,
        service_tiers=model.price_rules.service_tiers,
        next_price=prices.next_of(provider.name, model),
    )
