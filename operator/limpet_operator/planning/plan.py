"""Objects -> Plan: what shall be served, and a verdict on every object. Pure.

A bad object never disturbs the others: it is left out, with its reason. What was planned from the very same inputs
before is taken over by identity, so that whoever publishes a plan can compare with `is` and send only what changed.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from limpet_extproc.contract.catalog import SERVED_DIALECTS, Policy, Price
from limpet_operator.planning import checks, effects
from limpet_operator.planning.checks import Failure, PolicyInput, PricingInput, ProbeInput, ProviderInput, first_failure
from limpet_operator.planning.effects import ModelNames, PatternInput, all_failures
from limpet_operator.planning.selection import NamespaceProviders
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.provider import EnvVar, Provider
from limpet_operator.resources.secret import ConfigMapObject, SecretObject, SecretText
from limpet_operator.resources.stickypolicy import RoutingMode, StickyPolicy


@dataclass(frozen=True, slots=True)
class Condition:
    """One aspect of a verdict, as a status condition shows it."""

    ok: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether an object is used as it is written, whether what it refers to is there, what of it changes nothing."""

    accepted: Condition
    resolved_refs: Condition
    notes: tuple[Failure, ...] = ()
    """What it says without effect; nothing is wrong with the object."""

    @property
    def ok(self) -> bool:
        """Nothing is to be done."""
        return self.accepted.ok and self.resolved_refs.ok


@dataclass(frozen=True, slots=True)
class PlannedProvider:
    """A provider that can be served, with everything that other objects say about it.

    `name` is the Envoy cluster, the value of `x-limpet-provider` and what clients write in `provider.order`.
    """

    name: str
    spec: Provider
    credential: SecretText | None
    ca_pem: str | None
    header_values: Mapping[str, SecretText]
    """The values of headers that are set from Secrets, by header."""
    prices: Mapping[str, Price]

    @property
    def served(self) -> bool:
        """Whether requests can go there at all: it speaks an API that the gateway has routes for."""
        return not SERVED_DIALECTS.isdisjoint(self.spec.dialects)


@dataclass(frozen=True, slots=True)
class Plan:
    """What shall be served. Providers are sorted by name; `routing` is Header as soon as one policy says so."""

    providers: tuple[PlannedProvider, ...] = ()
    policies: tuple[Policy, ...] = ()
    routing: RoutingMode = "Metadata"
    probes: tuple[HealthProbe, ...] = ()
    verdicts: Mapping[ObjectKey, Verdict] = field(default_factory=dict)
    built_from: Mapping[ObjectKey, tuple[tuple[object, ...], PlannedProvider | None]] = field(
        default_factory=dict, repr=False, compare=False
    )
    """For each Provider the inputs it was planned from and what came of them: what the next plan can take over."""


_ACCEPTED = Condition(True, "Accepted", "")
_RESOLVED = Condition(True, "ResolvedRefs", "")
_FINE = Verdict(_ACCEPTED, _RESOLVED)


def plan(objects: Objects, env: Mapping[str, str], previous: Plan | None = None, owner: str | None = None) -> Plan:
    """What these objects and environment variables mean; `previous` only saves work, it never changes the outcome.

    `owner` is the namespace whose policies hold for the whole gateway, while those of others hold for what they alone
    serve. None: all objects are one person's, as on a laptop.
    """
    verdicts = {key: _invalid(invalid) for key, invalid in objects.invalid.items()}
    prices = _prices(objects, verdicts)
    before = previous or Plan()
    built: dict[ObjectKey, tuple[tuple[object, ...], PlannedProvider | None]] = {}
    for spec in objects.of(Provider):
        subject = _gather(spec, objects, env)
        of_secrets = (subject.secret, subject.variable, dict(subject.header_secrets))
        inputs = (spec, *of_secrets, subject.ca, subject.ca_under_other_kind, prices.get(spec.key))
        known = before.built_from.get(spec.key)
        if known is not None and _same(known[0], inputs):
            built[spec.key] = known
            verdicts[spec.key] = before.verdicts[spec.key]
        else:
            failure = first_failure(checks.PROVIDER_REFERENCES, subject)
            built[spec.key] = (inputs, None if failure else _planned(subject, prices.get(spec.key, {})))
            verdicts[spec.key] = _verdict(refs=failure, notes=all_failures(effects.PROVIDER_EFFECTS, subject))
    providers = [planned for _, planned in built.values() if planned is not None]
    policies = _policies(objects, owner, verdicts, providers)
    return Plan(
        providers=tuple(sorted(providers, key=lambda planned: planned.name)),
        policies=tuple(sticky.policy for sticky in policies),
        routing="Header" if any(sticky.routing == "Header" for sticky in policies) else "Metadata",
        probes=tuple(_probes(objects, verdicts)),
        verdicts=verdicts,
        built_from=built,
    )


def _find(objects: Objects, kind: str, namespace: str, name: str) -> Any:
    key = ObjectKey(kind, namespace, name)
    return objects.parsed.get(key) or objects.invalid.get(key)


def _same(before: tuple[object, ...], now: tuple[object, ...]) -> bool:
    """Objects by identity, texts and price tables by value (the latter are put together anew in each plan)."""
    return all(old is new or (isinstance(new, str | dict) and old == new) for old, new in zip(before, now, strict=True))


def _gather(spec: Provider, objects: Objects, env: Mapping[str, str]) -> ProviderInput:
    namespace = spec.key.namespace
    secret: SecretObject | Invalid | None = None
    variable = None
    if spec.credential is not None:
        if isinstance(spec.credential.source, EnvVar):
            variable = env.get(spec.credential.source.name)
        else:
            secret = _find(objects, "Secret", namespace, spec.credential.source.name)
    named = {ref.name for _, ref in spec.headers.secret}
    header_secrets = {name: _find(objects, "Secret", namespace, name) for name in sorted(named)}
    if spec.tls is None or spec.tls.ca is None:
        return ProviderInput(spec, secret, variable, header_secrets=header_secrets)
    ref = spec.tls.ca
    ca: SecretObject | ConfigMapObject | Invalid | None = _find(objects, ref.kind, namespace, ref.name)
    other = "Secret" if ref.kind == "ConfigMap" else "ConfigMap"
    misplaced = _find(objects, other, namespace, ref.name) is not None
    return ProviderInput(spec, secret, variable, ca, misplaced, header_secrets)


def _planned(subject: ProviderInput, prices: Mapping[str, Price]) -> PlannedProvider:
    key = checks.credential_text(subject)
    return PlannedProvider(
        name=subject.spec.key.display_name,
        spec=subject.spec,
        credential=None if key is None else SecretText(key),
        ca_pem=checks.ca_text(subject),
        header_values={name: SecretText(text) for name, text in checks.header_texts(subject).items()},
        prices=prices,
    )


def _prices(objects: Objects, verdicts: dict[ObjectKey, Verdict]) -> Mapping[ObjectKey, dict[str, Price]]:
    """The prices of each Provider by model. Of two Pricings for one model the first by name holds."""
    prices: dict[ObjectKey, dict[str, Price]] = {}
    holders: dict[tuple[ObjectKey, str], ObjectKey] = {}
    for spec in objects.of(Pricing):
        provider: Provider | Invalid | None = _find(objects, "Provider", spec.key.namespace, spec.provider_ref)
        target = ObjectKey("Provider", spec.key.namespace, spec.provider_ref)
        taken = {model: holder for model in spec.prices if (holder := holders.get((target, model)))}
        subject = PricingInput(spec, provider, taken)
        verdicts[spec.key] = _verdict(
            accepted=first_failure(checks.PRICING_ACCEPTED, subject),
            refs=first_failure(checks.PRICING_REFERENCES, subject),
            notes=all_failures(effects.PRICING_EFFECTS, spec),
        )
        for model, price in spec.prices.items():
            if holders.setdefault((target, model), spec.key) is spec.key:
                prices.setdefault(target, {})[model] = price
    return prices


def _policies(
    objects: Objects,
    owner: str | None,
    verdicts: dict[ObjectKey, Verdict],
    providers: Iterable[PlannedProvider],
) -> list[StickyPolicy]:
    """Those that are used: one whose pattern is taken is left out as a whole, so its other patterns are free."""
    used: list[StickyPolicy] = []
    names = _ServedModels(providers)
    holders: dict[tuple[str | None, str], ObjectKey] = {}
    for spec in objects.of(StickyPolicy):
        scope = None if owner in (None, spec.key.namespace) else spec.key.namespace
        taken = {pattern: holders[scope, pattern] for pattern in spec.policy.models if (scope, pattern) in holders}
        subject = PolicyInput(spec, taken, owner=None if scope is None else owner)
        failure = first_failure(checks.POLICY_ACCEPTED, subject)
        notes = all_failures(effects.POLICY_EFFECTS, PatternInput(spec, names.of(scope)))
        verdicts[spec.key] = _verdict(accepted=failure, notes=notes)
        if failure is None:
            used.append(replace(spec, policy=msgspec.structs.replace(spec.policy, namespace=scope)) if scope else spec)
            holders |= {(scope, pattern): spec.key for pattern in spec.policy.models}
    return used


class _ServedModels:
    """The names of the models that requests can ask for, gathered when a policy asks for the first time."""

    def __init__(self, providers: Iterable[PlannedProvider]) -> None:
        self._providers = providers
        self._known: dict[str | None, ModelNames] = {}

    def of(self, namespace: str | None) -> ModelNames:
        """Of the providers of this namespace; None: of all."""
        if namespace not in self._known:
            self._known[namespace] = ModelNames(
                model.name
                for provider in self._providers
                if provider.served and namespace in (None, provider.spec.key.namespace)
                for model in provider.spec.models
            )
        return self._known[namespace]


def _probes(objects: Objects, verdicts: dict[ObjectKey, Verdict]) -> Iterable[HealthProbe]:
    probes = objects.of(HealthProbe)
    namespaces = NamespaceProviders.by_namespace(objects, {probe.key.namespace for probe in probes})
    for spec in probes:
        providers = namespaces[spec.key.namespace]
        failure = first_failure(checks.PROBE_REFERENCES, ProbeInput(spec, providers.by_name, providers.selected(spec)))
        verdicts[spec.key] = _verdict(refs=failure, notes=all_failures(effects.PROBE_EFFECTS, spec))
        if failure is None:
            yield spec


def _verdict(accepted: Failure | None = None, refs: Failure | None = None, notes: tuple[Failure, ...] = ()) -> Verdict:
    if accepted is None and refs is None and not notes:
        return _FINE
    return Verdict(
        Condition(False, *accepted) if accepted else _ACCEPTED,
        Condition(False, *refs) if refs else _RESOLVED,
        notes,
    )


def _invalid(invalid: Invalid) -> Verdict:
    return Verdict(
        Condition(False, "Invalid", invalid.message),
        Condition(False, "Invalid", "references are looked at once the object is valid"),
    )
