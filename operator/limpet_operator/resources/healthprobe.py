"""HealthProbe: which providers are probed, how, and what counts as up, degraded or down."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limpet_operator.resources.durations import parse_duration
from limpet_operator.resources.metadata import read_object
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.schema import KindSchema


@dataclass(frozen=True, slots=True)
class HttpCheck:
    """A GET of a path after the provider's own prefix; statuses as inclusive ranges."""

    path: str
    expected_statuses: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class CompletionCheck:
    """A completion of at most so many tokens."""

    model: str
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Thresholds:
    """How many results in a row change the verdict, and above how many seconds an answer means degraded."""

    failures_to_down: int
    successes_to_up: int
    degraded_after_s: float | None


@dataclass(frozen=True, slots=True)
class HealthProbe:
    """Exactly one of `selector` (labels that must match; none match all) and `provider_refs` says which providers."""

    key: ObjectKey
    generation: int
    selector: Mapping[str, str] | None
    provider_refs: tuple[str, ...]
    interval_s: float
    timeout_s: float
    check: HttpCheck | CompletionCheck
    thresholds: Thresholds


def parse_healthprobe(raw: Mapping[str, Any], schema: KindSchema) -> HealthProbe | Invalid:
    """Reads a HealthProbe; everything that can be wrong with it alone is in its schema."""
    read = read_object(raw, schema)
    if isinstance(read, Invalid):
        return read
    metadata, spec = read
    selector, thresholds = spec.get("providerSelector"), spec["thresholds"]
    slow = thresholds.get("degradedAfter")
    return HealthProbe(
        key=metadata.key,
        generation=metadata.generation,
        selector=None if selector is None else selector.get("matchLabels", {}),
        provider_refs=tuple(ref["name"] for ref in spec.get("providerRefs", ())),
        interval_s=parse_duration(spec["interval"]),
        timeout_s=parse_duration(spec["timeout"]),
        check=_check(spec),
        thresholds=Thresholds(
            failures_to_down=thresholds["failuresToDown"],
            successes_to_up=thresholds["successesToUp"],
            degraded_after_s=None if slow is None else parse_duration(slow),
        ),
    )


def _check(spec: Mapping[str, Any]) -> HttpCheck | CompletionCheck:
    if "completion" in spec:
        return CompletionCheck(spec["completion"]["model"], spec["completion"]["maxTokens"])
    return HttpCheck(spec["http"]["path"], tuple(map(_status_range, spec["http"]["expectedStatuses"])))


def _status_range(text: str) -> tuple[int, int]:
    low, _, high = text.partition("-")
    return int(low), int(high or low)
