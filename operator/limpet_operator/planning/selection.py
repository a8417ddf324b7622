"""Which Providers of its namespace a HealthProbe selects; indexed, for thousands of probes and Providers."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Self

from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.problem import Invalid
from limpet_operator.resources.provider import Provider


@dataclass(slots=True)
class NamespaceProviders:
    """The Providers of one namespace."""

    by_name: dict[str, Provider | Invalid] = field(default_factory=dict)
    valid: tuple[Provider, ...] = ()
    by_label: dict[tuple[str, str], list[Provider]] = field(default_factory=dict)

    @classmethod
    def by_namespace(cls, objects: Objects, namespaces: Iterable[str]) -> Mapping[str, Self]:
        """The Providers of each of these namespaces."""
        found = {namespace: cls() for namespace in namespaces}
        for key, invalid in objects.invalid.items():
            if key.kind == "Provider" and key.namespace in found:
                found[key.namespace].by_name[key.name] = invalid
        for provider in objects.of(Provider):
            if provider.key.namespace in found:
                found[provider.key.namespace].by_name[provider.key.name] = provider
        for providers in found.values():
            providers.valid = tuple(each for each in providers.by_name.values() if isinstance(each, Provider))
            for each in providers.valid:
                for label in each.labels.items():
                    providers.by_label.setdefault(label, []).append(each)
        return found

    def selected(self, probe: HealthProbe) -> tuple[Provider, ...]:
        """Those that the probe names, or that have all of its labels; no labels: all of them."""
        if probe.selector is None:
            named = (self.by_name.get(name) for name in probe.provider_refs)
            return tuple(each for each in named if isinstance(each, Provider))
        if not probe.selector:
            return self.valid
        fewest = min((self.by_label.get(label, []) for label in probe.selector.items()), key=len)
        return tuple(each for each in fewest if probe.selector.items() <= each.labels.items())
