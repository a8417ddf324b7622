"""What a HealthProbe probes: those of the Providers that it selects which are served, and have its model. Pure."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from limpet_operator.resources.healthprobe import CompletionCheck, HealthProbe
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.provider import Provider


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """One provider that is probed."""

    provider: str
    """Its name as a `PlannedProvider`."""
    upstream_model: str = ""
    """What it calls the model that is asked for a completion; empty: the probe is a GET."""


@dataclass(frozen=True, slots=True)
class PlannedProbe:
    """A HealthProbe that probes at least one provider; targets are in the order of their names."""

    spec: HealthProbe
    targets: tuple[ProbeTarget, ...]


def probe_targets(
    spec: HealthProbe, selected: Iterable[Provider], served: Collection[ObjectKey]
) -> tuple[ProbeTarget, ...]:
    """Where it can be sent. `served` are the Providers that Envoy has a cluster of."""
    targets = (_target(spec, provider) for provider in selected if provider.key in served)
    return tuple(sorted((each for found in targets for each in found), key=lambda target: target.provider))


def _target(spec: HealthProbe, provider: Provider) -> Iterator[ProbeTarget]:
    name = provider.key.display_name
    if not isinstance(spec.check, CompletionCheck):
        yield ProbeTarget(name)
    elif speaks(provider):
        for model in provider.models:
            if model.name == spec.check.model:
                yield ProbeTarget(name, model.upstream_name)


def speaks(provider: Provider) -> bool:
    """Whether it can be asked for a completion."""
    return bool(provider.dialects)
