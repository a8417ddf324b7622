"""The catalog as lookup tables: built once when it arrives, swapped whole, read without locks."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from limpet_extproc.contract import Catalog, Dialect, Policy, Price
from limpet_extproc.policies import Policies


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """One provider as a choice for one model."""

    provider: str
    upstream_model: str
    price: Price | None
    caches: bool
    cache_ttl_s: float
    min_tokens: int
    weight: int
    drain: bool
    seed: bytes
    """The provider's part in rendezvous hashing: its name."""


@dataclass(frozen=True, slots=True)
class Lane:
    """All that can serve one model in one dialect, and the policy that holds for it."""

    model: str
    candidates: tuple[Candidate, ...]
    policy: Policy
    by_provider: Mapping[str, Candidate] = field(init=False)
    drains: bool = field(init=False)
    """Whether any of them takes no new conversations."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "drains", any(c.drain for c in self.candidates))
        object.__setattr__(self, "by_provider", {c.provider: c for c in self.candidates})


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the data plane knows of the world; `EMPTY` until the first catalog has come."""

    revision: str
    lanes: Mapping[tuple[Dialect, str], Lane]
    identity_headers: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    """All names; the memory keeps shorter ones."""

    def models(self, dialect: Dialect) -> list[str]:
        """Names of all models that can be asked for in this dialect, sorted."""
        return sorted(model for d, model in self.lanes if d == dialect)


EMPTY = Snapshot(revision="", lanes={})


def snapshot(catalog: Catalog) -> Snapshot:
    """The tables of a catalog; providers keep its order, so equal catalogs give equal decisions everywhere."""
    choices: dict[tuple[Dialect, str], list[Candidate]] = {}
    namespaces: dict[tuple[Dialect, str], set[str]] = {}
    for provider in catalog.providers:
        seed = provider.name.encode()
        for model in provider.models:
            candidate = Candidate(
                provider=provider.name,
                upstream_model=model.upstream_name,
                price=model.price,
                caches=provider.caches,
                cache_ttl_s=provider.cache_ttl_s,
                min_tokens=model.min_tokens,
                weight=provider.weight,
                drain=provider.drain,
                seed=seed,
            )
            for dialect in provider.dialects:
                choices.setdefault((dialect, model.name), []).append(candidate)
                namespaces.setdefault((dialect, model.name), set()).add(provider.namespace)
    policies = Policies(catalog.policies)
    lanes = {
        key: Lane(key[1], tuple(candidates), policies.holding(key[1], namespaces[key]))
        for key, candidates in choices.items()
    }
    headers = dict.fromkeys(header for policy in catalog.policies for header in policy.identity_headers)
    names = tuple(provider.name for provider in catalog.providers)
    return Snapshot(catalog.revision, lanes, tuple(headers), names)
