"""The verdicts of several HealthProbes on one provider as one: the worst counts. Pure."""

from collections.abc import Iterable, Mapping
from functools import reduce
from typing import NamedTuple

from limpet_extproc.contract.health_stream import Probed
from limpet_operator.probe.judge import Standing, worse
from limpet_operator.resources.healthprobe import CompletionCheck, HealthProbe


class ProviderStanding(NamedTuple):
    """One provider by one HealthProbe."""

    probe: HealthProbe
    provider: str
    standing: Standing


def model_of(one: ProviderStanding) -> str:
    """The model that the verdict is about; empty: the provider with all its models.

    A completion that fails for a reason of the whole provider speaks for all of it.
    """
    check = one.probe.check
    return check.model if isinstance(check, CompletionCheck) and not one.standing.whole_provider else ""


def combined(standings: Iterable[ProviderStanding]) -> tuple[Probed, ...]:
    """One for each provider and each model there that has a verdict, in the order of their names."""
    by_subject: dict[tuple[str, str], list[Probed]] = {}
    for one in standings:
        for probed in _probed(one):
            by_subject.setdefault((probed.provider, probed.model), []).append(probed)
    return tuple(_worst(by_subject[subject]) for subject in sorted(by_subject))


def by_provider(probed: Iterable[Probed]) -> Mapping[str, tuple[Probed, ...]]:
    """The same, by the provider's name."""
    found: dict[str, tuple[Probed, ...]] = {}
    for each in probed:
        found[each.provider] = (*found.get(each.provider, ()), each)
    return found


def _probed(one: ProviderStanding) -> Iterable[Probed]:
    standing, key = one.standing, one.probe.key
    if standing.verdict is None:
        return
    by = standing.decided_by
    yield Probed(
        provider=one.provider,
        verdict=standing.verdict,
        cause=by.cause,
        since_s=standing.since_s,
        model=model_of(one),
        status=by.status,
        message=by.message,
        probes=(f"{key.namespace}/{key.name}",),
    )


def _worst(claims: list[Probed]) -> Probed:
    """The name decides between equal verdicts, so that it does not change from one probe to the next."""
    claims.sort(key=lambda claim: claim.probes)
    worst = reduce(lambda one, other: other if worse(other.verdict, one.verdict) else one, claims)
    others = tuple(name for claim in claims if claim is not worst for name in claim.probes)
    return Probed(
        worst.provider,
        worst.verdict,
        worst.cause,
        worst.since_s,
        worst.model,
        worst.status,
        worst.message,
        worst.probes + others,
    )
