"""What a HealthProbe's condition `Probing` says: how the providers that it probes are doing. Pure.

It changes with verdicts, never with a single probe, so that a probe every second causes no writes.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Final

from limpet_operator.planning.finding import Finding, ObjectFindings, ProbingReason, Truth
from limpet_operator.probe.view import ProbeResult
from limpet_operator.resources.durations import format_duration
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.status.health_words import answered, wording

_NAMED: Final = 5
"""Providers of one kind that a message names."""


def probing(
    planned: ObjectFindings,
    spec: HealthProbe | None,
    results: Sequence[ProbeResult],
    others: Mapping[str, Collection[str]],
    gateways: int,
) -> Finding:
    """Whether its providers are probed.

    `others` has the names of each provider's other probes; so many `gateways` are connected.
    """
    if not planned.accepted.ok or spec is None:
        return _probing("Unknown", "NotAccepted", "nothing is probed until the condition Accepted is True")
    if not planned.resolved_refs.ok and not results:
        return _probing("Unknown", "RefsNotResolved", "nothing is probed until the condition ResolvedRefs is True")
    if not gateways:
        message = "no gateway is connected, and probes go through one; check whether the gateway pods are ready"
        return _probing("Unknown", "NoGateway", message)
    if not results:
        return _probing("Unknown", "Pending", "none of its Providers is served yet; see their conditions")
    if all(result.verdict is None for result in results):
        why = [_unknown(result) for result in results if result.not_sent or result.last_cause]
        if any(result.rejected for result in results):
            return _probing("False", "ProbeRejected", ", ".join(_first(why)))
        message = ", ".join(_first(why)) or "there have not been enough answers for a verdict yet"
        return _probing("Unknown", "Pending", message)
    providers = f"{len(results)} provider{'' if len(results) == 1 else 's'}"
    clauses = [_verdicts(results), *_shared(results, others)]
    return _probing(
        "True", "Probing", f"{providers} probed every {format_duration(spec.interval_s)}: {'; '.join(clauses)}"
    )


def up_count(results: Sequence[ProbeResult]) -> int:
    """How many of the providers that a HealthProbe probes it finds up."""
    return sum(result.verdict == "Up" for result in results)


def _verdicts(results: Sequence[ProbeResult]) -> str:
    not_up = [
        f"{_name(result)} {result.verdict} ({wording(result.verdict, result.cause).reason})"
        for result in results
        if result.verdict not in (None, "Up")
    ]
    unknown = [_unknown(result) for result in results if result.verdict is None]
    return ", ".join((f"{up_count(results)} up", *_first(not_up), *_first(unknown)))


def _unknown(result: ProbeResult) -> str:
    """Why there is no verdict."""
    if result.not_sent:
        return f"{_name(result)} not probed: {result.not_sent}"
    if result.rejected:
        return rejection(result)
    answer = " ".join(filter(None, (result.last_cause, answered(result.status, result.message))))
    return f"{_name(result)} not known: {answer}" if answer else f"{_name(result)} not known yet"


def rejection(result: ProbeResult) -> str:
    """What a provider answers that finds fault with the probe, and what to do."""
    field = "http.path" if result.rejected.startswith("GET ") else "completion"
    answer = answered(result.status, result.message)
    return f"{_name(result)} answers {result.rejected} with {answer}: correct spec.{field}"


def _shared(results: Sequence[ProbeResult], others: Mapping[str, Collection[str]]) -> list[str]:
    shared = [
        f"{_name(result)} is also probed by HealthProbe {', '.join(sorted(others[result.provider]))}"
        for result in results
        if others.get(result.provider)
    ]
    return [f"{', '.join(_first(shared))}, and the worse verdict counts"] if shared else []


def _name(result: ProbeResult) -> str:
    """Without the namespace, which is the HealthProbe's own."""
    return result.provider.rpartition("/")[2]


def _first(clauses: list[str]) -> list[str]:
    more = len(clauses) - _NAMED
    return clauses if more <= 0 else [*clauses[:_NAMED], f"and {more} more"]


def _probing(status: Truth, reason: ProbingReason, message: str) -> Finding:
    return Finding("Probing", status, reason, message)


def probes_by_provider(results: Mapping[ObjectKey, Sequence[ProbeResult]]) -> Mapping[str, frozenset[ObjectKey]]:
    """Provider name -> the HealthProbes that probe it."""
    found: dict[str, set[ObjectKey]] = {}
    for key, of_probe in results.items():
        for result in of_probe:
            found.setdefault(result.provider, set()).add(key)
    return {name: frozenset(keys) for name, keys in found.items()}
