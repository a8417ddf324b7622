"""StickyPolicy: how conversations are recognised, remembered and failed over."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from limpet_extproc.contract.catalog import Policy
from limpet_operator.resources.durations import parse_duration
from limpet_operator.resources.metadata import read_object
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.schema import KindSchema

RoutingMode = Literal["Metadata", "Header"]

SAVE_CACHE_WITHIN: Final = "5s"
"""How long a request waits for its warm provider under failover SaveCache, where the policy sets nothing else."""


@dataclass(frozen=True, slots=True)
class StickyPolicy:
    """The data plane's `policy`, and by which `routing` Envoy learns the order of providers."""

    key: ObjectKey
    generation: int
    policy: Policy
    routing: RoutingMode


def parse_stickypolicy(raw: Mapping[str, Any], schema: KindSchema) -> StickyPolicy | Invalid:
    """Reads a StickyPolicy; one that is empty, or whose spec is, consists of the defaults."""
    read = read_object(raw, schema)
    if isinstance(read, Invalid):
        return read
    metadata, spec = read
    ttl = spec["memory"]["ttl"]
    policy = Policy(
        name=metadata.key.display_name,
        models=tuple(spec["models"]),
        mode=spec["mode"],
        identity_headers=tuple(header.lower() for header in spec["identity"].get("headers", ())),
        memory_ttl_s=None if ttl == "Provider" else parse_duration(ttl),
        max_providers=spec["memory"]["maxProviders"],
        failover=spec["failover"]["policy"],
        save_cache_within_s=_save_cache_within_s(spec["failover"]),
        max_attempts=spec["failover"]["maxAttempts"],
        spread_within_percent=float(spec["spread"]["withinPercent"]),
        client_order=spec["clientOrder"],
        on_timeout=spec["failover"]["onTimeout"],
        prompt_caching=spec["promptCaching"],
        hold_first_s=parse_duration(spec["holdFirst"]) if "holdFirst" in spec else 0.0,
        shown_headers=tuple(spec.get("showHeaders", ())),
    )
    return StickyPolicy(metadata.key, metadata.generation, policy, spec["routing"])


def _save_cache_within_s(failover: Mapping[str, Any]) -> float:
    if failover["policy"] != "SaveCache":
        return 0.0
    return parse_duration(failover.get("saveCacheWithin", SAVE_CACHE_WITHIN))
