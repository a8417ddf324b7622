"""The presets of all vendors: `vendors.yaml`, typed."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any, Final, TypeVar

import yaml

from limpet_extproc.contract.apis import DialectName
from limpet_extproc.contract.catalog import CacheFields
from limpet_operator.resources.durations import parse_duration

UNKNOWN_CACHE_TTL_S: Final = 300.0
"""The lifetime assumed where `spec.cache` has none and the vendor is Custom."""


@dataclass(frozen=True, slots=True)
class PromptCacheRules:
    """How a prompt cache behaves: lifetime in seconds from the last use, sizes in tokens."""

    caches: bool
    ttl_s: float
    min_tokens: int


@dataclass(frozen=True, slots=True)
class Vendor:
    """A preset: what a Provider of this vendor gets unless it sets something else."""

    name: str
    dialects: tuple[DialectName, ...]
    auth_header: str
    auth_scheme: str
    cache: PromptCacheRules
    min_tokens_by_model: Mapping[str, int]
    headers: tuple[str, ...]
    """Request headers that this vendor reads, besides those that every provider gets; in lower case."""
    query: tuple[str, ...]
    """Query parameters that this vendor reads."""
    reads_provider_object: bool
    """Whether it understands and obeys the `provider` object of a request."""
    first_byte_s: float
    """How long a streamed answer may take to begin."""
    always_reports_usage: bool
    """Whether every whole answer carries its token usage."""
    idle_connection_s: float
    """How long an unused connection is kept: for less time than the vendor keeps it."""
    answer_limit: str
    """The field of a chat completion that bounds the length of its answer."""
    path: str
    """Where the API begins on the vendor's host, for a url without a path."""
    paths: Mapping[DialectName, str]
    """Where a dialect begins there that does not begin where the others do."""
    endpoints: tuple[str, ...]
    """The other APIs, by `apis.Api.name`."""
    cache_fields: CacheFields
    adds_cache_key: bool
    """Whether a `prompt_cache_key` helps the models that `cache_key_by_model` does not name."""
    cache_key_by_model: Mapping[str, bool]
    affinity_header: str
    """A header that takes the name of a conversation; empty: none."""
    stream_usage: bool
    """Whether `stream_options.include_usage` may be asked for."""
    user_id: bool
    """Whether translation writes `metadata.user_id`; False where that would divide the prompt cache."""

    def min_tokens(self, upstream_name: str) -> int:
        """The shortest prompt that is cached for a model, by the longest listed prefix of its name."""
        return _by_model(self.min_tokens_by_model, upstream_name, self.cache.min_tokens)

    def cache_key(self, upstream_name: str) -> bool:
        """Whether a `prompt_cache_key` helps a model, by the longest listed prefix of its name."""
        return _by_model(self.cache_key_by_model, upstream_name, self.adds_cache_key)


_OfModel = TypeVar("_OfModel")


def _by_model(values: Mapping[str, _OfModel], upstream_name: str, default: _OfModel) -> _OfModel:
    bare = upstream_name.rsplit("/", 1)[-1]
    prefixes = [prefix for prefix in values if bare.startswith(prefix)]
    return values[max(prefixes, key=len)] if prefixes else default


def load_vendors() -> Mapping[str, Vendor]:
    """The presets by vendor name, read from the package."""
    text = (files("limpet_operator.resources") / "vendors.yaml").read_bytes()
    return {name: _vendor(name, entry) for name, entry in yaml.load(text, yaml.CSafeLoader).items()}


def _vendor(name: str, entry: Mapping[str, Any]) -> Vendor:
    cache = entry.get("cache")
    return Vendor(
        name=name,
        dialects=tuple(entry["dialects"]),
        auth_header=entry["auth"]["header"],
        auth_scheme=entry["auth"]["scheme"],
        cache=PromptCacheRules(caches=False, ttl_s=UNKNOWN_CACHE_TTL_S, min_tokens=0)
        if cache is None
        else PromptCacheRules(True, parse_duration(cache["ttl"]), cache["minTokens"]),
        min_tokens_by_model=(cache or {}).get("minTokensByModel", {}),
        headers=tuple(entry.get("headers", {}).get("pass", ())),
        query=tuple(entry.get("query", {}).get("pass", ())),
        reads_provider_object=entry.get("readsProviderObject", False),
        always_reports_usage=entry.get("usage", {}).get("always", False),
        first_byte_s=parse_duration(entry.get("firstByte", "5m")),
        idle_connection_s=parse_duration(entry.get("idleConnection", "50s")),
        answer_limit=entry.get("answerLimit", {}).get("field", "max_tokens"),
        path=entry.get("path", ""),
        paths=entry.get("paths", {}),
        endpoints=tuple(entry.get("endpoints", {}).get("list", ())),
        cache_fields=_cache_fields(entry),
        adds_cache_key=entry.get("cacheKey", {}).get("add", False),
        cache_key_by_model=entry.get("cacheKey", {}).get("models", {}),
        affinity_header=entry.get("affinity", {}).get("header", ""),
        stream_usage=entry.get("streamUsage", {}).get("add", True),
        user_id=entry.get("userId", {}).get("add", True),
    )


def _cache_fields(entry: Mapping[str, Any]) -> CacheFields:
    control = entry.get("cacheControl", {})
    return CacheFields(
        # A field of that API; whoever does not use it ignores it.
        cache_control={"AnthropicMessages": "Blocks", **control.get("read", {})},
        only_marked=control.get("onlyMarked", False),
        free_unmarked=control.get("freeUnmarked", False),
        retention=entry.get("retention", {}).get("reads", False),
        cache_key_rpm=entry.get("cacheKey", {}).get("perMinute", 0),
    )
