"""What the status of each object is made from at one moment: the plan, its objects and the state of the fleet. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import TypeVar

from limpet_operator.fleet.view import GatewayState, Traffic
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import Plan
from limpet_operator.probe.view import ProbeView
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.secret import ConfigMapObject, SecretObject
from limpet_operator.status import findings
from limpet_operator.status.health import ProviderHealth, healths, provider_health
from limpet_operator.status.price_window import WindowInForce, window_in_force
from limpet_operator.status.probing import probes_by_provider, probing, up_count

_Spec = TypeVar("_Spec")


class PlannedObjects:
    """A plan and its objects, with an index that lives as long as they do."""

    def __init__(self, plan: Plan, objects: Objects) -> None:
        self.plan = plan
        self.objects = objects

    @cached_property
    def prices_read(self) -> Mapping[ObjectKey, datetime]:
        """The date of each Provider's oldest price list."""
        dates: dict[ObjectKey, datetime] = {}
        for each in self.objects.of(Pricing):
            if self.plan.findings[each.key].accepted.ok:
                date, provider = each.read_on, ObjectKey("Provider", each.key.namespace, each.provider_ref)
                if date is not None:
                    dates[provider] = min(date, dates.get(provider, date))
        return dates


class StatusInputs:
    """One moment. `published` gives the version in which a provider's cluster is served, `meshed` what a mesh has."""

    def __init__(
        self,
        planned: PlannedObjects,
        gateways: Sequence[GatewayState],
        traffic: Mapping[str, Traffic],
        probes: ProbeView,
        published: Callable[[str], str | None],
        meshed: Callable[[ObjectKey], Finding | None] = lambda _key: None,
    ) -> None:
        self.plan = planned.plan
        self._planned = planned
        self._gateways = gateways
        self._traffic = traffic
        self._probed = probes.probed()
        self._results = probes.results()
        self._published = published
        self._meshed = meshed

    def generation(self, key: ObjectKey) -> int | None:
        """The generation of the spec that was planned; None: unknown, because the object is not valid."""
        parsed = self._planned.objects.parsed.get(key)
        return None if parsed is None or isinstance(parsed, SecretObject | ConfigMapObject) else parsed.generation

    def findings(self, key: ObjectKey, now: datetime) -> list[Finding]:
        """All findings about an object, in the order in which `kubectl describe` should show them."""
        planned = self.plan.findings[key]
        effective = findings.effective(planned)
        if key.kind == "StickyPolicy":
            return [planned.accepted, effective]
        common = [planned.accepted, planned.resolved_refs, effective]
        if key.kind == "Provider":
            return common + self._of_fleet(key)
        if key.kind == "HealthProbe":
            return [*common, self._probing(key)]
        return [*common, findings.fresh(self._pricing(key), now)]

    def fingerprint(self, key: ObjectKey) -> tuple[object, ...]:
        """What the findings depend on besides the time: equal fingerprints, equal findings."""
        planned = self.plan.findings[key]
        if key.kind == "Provider":
            return (planned, self.prices_read(key), self.cache(key), self.health(key), *self._of_fleet(key))
        if key.kind == "HealthProbe":
            return (planned, self._probing(key), self.providers_up(key))
        return (planned, self._pricing(key)) if key.kind == "Pricing" else (planned,)

    def prices_read(self, key: ObjectKey) -> datetime | None:
        """The date of a provider's oldest price list; None: unknown, or it has none."""
        return self._planned.prices_read.get(key) if key.kind == "Provider" else None

    def cache(self, key: ObjectKey) -> Mapping[str, int]:
        """Recent figures of a provider's prompt cache, by their names in its status, where they are known."""
        traffic = self._traffic.get(key.display_name) if key.kind == "Provider" else None
        if traffic is None:
            return {}
        hits = {} if traffic.hit_percent is None else {"hitPercent": traffic.hit_percent}
        return {**hits, "warmConversations": traffic.warm_conversations}

    def window(self, key: ObjectKey, now: datetime) -> WindowInForce | None:
        """Which window of a price list holds; None: none ever does."""
        pricing = self._pricing(key)
        return None if pricing is None else window_in_force(pricing, now.timestamp())

    def changes_at(self, key: ObjectKey, now: datetime) -> datetime | None:
        """When the status will change with time alone; None: never."""
        pricing = self._pricing(key)
        if pricing is None:
            return None
        stale, window = pricing.stale_at, self.window(key, now)
        turns = None if window is None else datetime.fromtimestamp(window.until_s, UTC)
        read = pricing.read_on
        comes = None if read is None or read <= now else read - findings.AHEAD_OF_UTC
        return min((each for each in (stale, turns, comes) if each is not None and each > now), default=None)

    def health(self, key: ObjectKey) -> ProviderHealth:
        """How a provider is doing."""
        if (found := self._healths.get(key.display_name)) is not None:
            return found
        name = key.display_name
        return provider_health(self.plan.findings[key], self._traffic.get(name), self._probed.get(name, ()))

    def providers_up(self, key: ObjectKey) -> Mapping[str, int]:
        """How many providers a HealthProbe probes and how many it finds up, by their names in its status."""
        results = self._results.get(key, ())
        return {"probed": len(results), "up": up_count(results)}

    def _of_fleet(self, key: ObjectKey) -> list[Finding]:
        planned, name, spec = self.plan.findings[key], key.display_name, self._spec(key, Provider)
        programmed = findings.programmed(name, planned, self._published(name), self._gateways)
        drained = [findings.drained(self._traffic.get(name))] if spec is not None and spec.drain else []
        meshed = self._meshed(key)
        return [programmed, self.health(key).finding, *([] if meshed is None else [meshed]), *drained]

    def _probing(self, key: ObjectKey) -> Finding:
        results = self._results.get(key, ())
        others = {each.provider: [other.name for other in self._probes_of[each.provider] - {key}] for each in results}
        spec = self._spec(key, HealthProbe)
        return probing(self.plan.findings[key], spec, results, others, len(self._gateways))

    @cached_property
    def _healths(self) -> Mapping[str, ProviderHealth]:
        return healths(self.plan, self._traffic, self._probed)

    @cached_property
    def _probes_of(self) -> Mapping[str, frozenset[ObjectKey]]:
        return probes_by_provider(self._results)

    def _pricing(self, key: ObjectKey) -> Pricing | None:
        return self._spec(key, Pricing)

    def _spec(self, key: ObjectKey, kind: type[_Spec]) -> _Spec | None:
        parsed = self._planned.objects.parsed.get(key)
        return parsed if isinstance(parsed, kind) else None
