"""What is to be said of each object, given a plan, the objects it was made of and the fleet at one moment. Pure."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import cached_property

from limpet_operator.fleet.acks import GatewayState, Traffic
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.secret import ConfigMapObject, SecretObject
from limpet_operator.status import findings
from limpet_operator.status.findings import Finding


class PlannedObjects:
    """A plan and the objects it was made of, with what is looked up in them again and again."""

    def __init__(self, plan: Plan, objects: Objects) -> None:
        self.plan = plan
        self.objects = objects

    @cached_property
    def prices_read(self) -> Mapping[ObjectKey, datetime]:
        """The day on which the oldest of each Provider's price lists was read."""
        read: dict[ObjectKey, datetime] = {}
        for each in self.objects.of(Pricing):
            if self.plan.verdicts[each.key].accepted.ok:
                day, provider = findings.retrieved(each), ObjectKey("Provider", each.key.namespace, each.provider_ref)
                if day is not None:
                    read[provider] = min(day, read.get(provider, day))
        return read


class StatusInputs:
    """One moment. `published` gives the version in which a provider's cluster is served."""

    def __init__(
        self,
        planned: PlannedObjects,
        gateways: Sequence[GatewayState],
        traffic: Mapping[str, Traffic],
        published: Callable[[str], str | None],
    ) -> None:
        self.plan = planned.plan
        self._planned = planned
        self._gateways = gateways
        self._traffic = traffic
        self._published = published

    def generation(self, key: ObjectKey) -> int | None:
        """Of the spec that the verdict speaks of; None: whichever is there, it could not be read."""
        parsed = self._planned.objects.parsed.get(key)
        return None if parsed is None or isinstance(parsed, SecretObject | ConfigMapObject) else parsed.generation

    def findings(self, key: ObjectKey, now: datetime) -> list[Finding]:
        """All that is said of an object, in the order in which `kubectl describe` shall show it."""
        verdict = self.plan.verdicts[key]
        if key.kind == "StickyPolicy":
            return [findings.accepted(verdict), findings.effective(verdict)]
        told = [findings.accepted(verdict), findings.resolved_refs(verdict), findings.effective(verdict)]
        if key.kind == "Provider":
            return told + self._of_fleet(key)
        if key.kind == "Pricing":
            told.append(findings.fresh(self._pricing(key), now))
        return told

    def made_of(self, key: ObjectKey) -> tuple[object, ...]:
        """What the findings depend on, besides the time: equal parts, equal findings."""
        verdict = self.plan.verdicts[key]
        if key.kind == "Provider":
            return (verdict, self.prices_read(key), self.cache(key), *self._of_fleet(key))
        return (verdict, self._pricing(key)) if key.kind == "Pricing" else (verdict,)

    def prices_read(self, key: ObjectKey) -> datetime | None:
        """The day on which the oldest of a provider's price lists was read; None: unknown, or it has none."""
        return self._planned.prices_read.get(key) if key.kind == "Provider" else None

    def cache(self, key: ObjectKey) -> Mapping[str, int]:
        """What a provider's prompt cache did of late, by the names in its status; what is not known is left out."""
        traffic = self._traffic.get(key.display_name) if key.kind == "Provider" else None
        if traffic is None:
            return {}
        hits = {} if traffic.hit_percent is None else {"hitPercent": traffic.hit_percent}
        return {**hits, "warmConversations": traffic.warm_conversations}

    def changes_at(self, key: ObjectKey) -> datetime | None:
        """When the findings will differ by themselves."""
        pricing = self._pricing(key)
        return None if pricing is None else findings.turns_stale(pricing)

    def _of_fleet(self, key: ObjectKey) -> list[Finding]:
        verdict, name = self.plan.verdicts[key], key.display_name
        return [
            findings.programmed(name, verdict, self._published(name), self._gateways),
            findings.healthy(verdict, self._traffic.get(name)),
        ]

    def _pricing(self, key: ObjectKey) -> Pricing | None:
        parsed = self._planned.objects.parsed.get(key)
        return parsed if isinstance(parsed, Pricing) else None
