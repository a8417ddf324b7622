"""Objects -> Plan: what should be served, and the findings about every object. Pure.

A bad object never disturbs the others: it is left out, with its reason. A provider whose inputs have not changed is
the same object in the next plan, so the publisher can compare by `is` and send only what changed.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

import msgspec

from limpet_extproc.contract.catalog import Policy
from limpet_extproc.contract.client_keys import ClientKey
from limpet_operator.planning import checks, effects, provider_checks
from limpet_operator.planning.checking import Checked, Checking
from limpet_operator.planning.checks import PolicyInput, PricingInput, ProbeInput, first_failure
from limpet_operator.planning.client_keys import planned_clients
from limpet_operator.planning.effects import ModelNames, PatternInput, all_findings
from limpet_operator.planning.finding import ACCEPTED, RESOLVED, Finding, ObjectFindings, not_accepted
from limpet_operator.planning.probe_targets import PlannedProbe, probe_targets
from limpet_operator.planning.provider_checks import ProviderInput
from limpet_operator.planning.selection import NamespaceProviders
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.model_prices import ModelPrices
from limpet_operator.resources.objects import Objects
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.provider import EnvVar, Provider, SecretKeyRef
from limpet_operator.resources.secret import ConfigMapObject, SecretObject, SecretText
from limpet_operator.resources.serving_certificate import ServingCertificate
from limpet_operator.resources.stickypolicy import RoutingMode, StickyPolicy


@dataclass(frozen=True, slots=True)
class PlannedProvider:
    """A provider that can be served, with everything that other objects define about it.

    `name` is the Envoy cluster, the value of `x-limpet-provider` and what clients write in `provider.order`.
    """

    name: str
    spec: Provider
    credential: SecretText | None
    ca_pem: str | None
    header_values: Mapping[str, SecretText]
    """The values of headers that are set from Secrets, by header."""
    prices: Mapping[str, ModelPrices]

    @property
    def served(self) -> bool:
        """Whether requests can be sent there: it speaks an API that the gateway has routes for."""
        return bool(self.spec.dialects or self.spec.endpoints)

    def keys(self) -> tuple[str, ...]:
        """Whatever of a Secret is sent to it, so that its answers can be shown without."""
        secrets = (self.credential, *self.header_values.values())
        return tuple(secret.reveal() for secret in secrets if secret is not None)


class BuiltProvider(NamedTuple):
    """A Provider's inputs, and what was built from them; None: it can't be served."""

    inputs: tuple[object, ...]
    planned: PlannedProvider | None


@dataclass(frozen=True, slots=True)
class Plan:
    """What should be served. Providers are sorted by name; `routing` is Header as soon as one policy says so."""

    providers: tuple[PlannedProvider, ...] = ()
    policies: tuple[Policy, ...] = ()
    routing: RoutingMode = "Metadata"
    probes: tuple[PlannedProbe, ...] = ()
    findings: Mapping[ObjectKey, ObjectFindings] = field(default_factory=dict)
    stale_at: Mapping[ObjectKey, datetime] = field(default_factory=dict)
    """When the prices of each Pricing that has a `staleAfter` count as stale; they are used all the same."""
    client_keys: tuple[ClientKey, ...] = ()
    """Of the gateway's clients, by name."""
    certificate: ServingCertificate | None = None
    """What clients of the gateway's port for TLS are shown; None: it has none, or it is closed."""
    built: Mapping[ObjectKey, BuiltProvider] = field(default_factory=dict, repr=False, compare=False)
    """By Provider, for the next plan, which reuses what was built from equal inputs."""
    checked: Mapping[ObjectKey, Checked] = field(default_factory=dict, repr=False, compare=False)
    """The same of Pricings, HealthProbes and StickyPolicies."""
    model_names: Mapping[str | None, ModelNames] = field(default_factory=dict, repr=False, compare=False)
    """Of the models that are served, by namespace; None: in all."""


_FINE = ObjectFindings()


def plan(
    objects: Objects,
    env: Mapping[str, str],
    previous: Plan | None = None,
    owner: str | None = None,
    keys_in: str | None = None,
) -> Plan:
    """What these objects and environment variables mean; `previous` only saves work, it never changes the outcome.

    `owner` is the namespace whose policies apply to the whole gateway, while those of others apply to what they alone
    serve. `keys_in` is the namespace whose Secrets may hold keys of clients. None: all objects are one person's, as on
    a laptop.
    """
    findings = {key: _invalid(invalid) for key, invalid in objects.invalid.items()}
    before = previous or Plan()
    checking = Checking(before.checked, findings)
    prices = _prices(objects, checking)
    built: dict[ObjectKey, BuiltProvider] = {}
    for spec in objects.of(Provider):
        subject = _gather(spec, objects, env)
        of_secrets = (subject.secret, subject.variable, dict(subject.header_secrets))
        inputs = (spec, *of_secrets, subject.ca, subject.ca_under_other_kind, prices.get(spec.key))
        reusable = before.built.get(spec.key)
        if reusable is not None and reusable.inputs == inputs:
            built[spec.key] = reusable
            findings[spec.key] = before.findings[spec.key]
        else:
            idle = provider_checks.something_is_served(subject)
            failure = first_failure(provider_checks.PROVIDER_REFERENCES, subject)
            planned = None if idle or failure else _planned(subject, prices.get(spec.key, {}))
            built[spec.key] = BuiltProvider(inputs, planned)
            findings[spec.key] = _findings(idle, failure, all_findings(effects.PROVIDER_EFFECTS, subject))
    clients = planned_clients(objects.of(SecretObject), keys_in)
    findings |= {key: ObjectFindings(finding) for key, finding in clients.findings.items()}
    providers = [each.planned for each in built.values() if each.planned is not None]
    names = _ServedModels(providers, before.model_names)
    policies = _policies(objects, owner, names, checking)
    served = {key for key, each in built.items() if each.planned is not None}
    return Plan(
        providers=tuple(sorted(providers, key=lambda planned: planned.name)),
        policies=tuple(sticky.policy for sticky in policies),
        routing="Header" if any(sticky.routing == "Header" for sticky in policies) else "Metadata",
        probes=tuple(_probes(objects, served, checking)),
        findings=findings,
        client_keys=clients.keys,
        stale_at={each.key: each.stale_at for each in objects.of(Pricing) if each.stale_at is not None},
        built=built,
        checked=checking.checked,
        model_names=names.by_namespace,
    )


_CA_KINDS: Final[Mapping[str, type[SecretObject | ConfigMapObject]]] = {
    "Secret": SecretObject,
    "ConfigMap": ConfigMapObject,
}


def _gather(spec: Provider, objects: Objects, env: Mapping[str, str]) -> ProviderInput:
    """The Provider with the objects that it refers to."""

    def secret_named(name: str) -> SecretObject | Invalid | None:
        return objects.find(SecretObject, ObjectKey("Secret", spec.key.namespace, name))

    def ca_of_kind(kind: str, name: str) -> SecretObject | ConfigMapObject | Invalid | None:
        return objects.find(_CA_KINDS[kind], ObjectKey(kind, spec.key.namespace, name))

    source = spec.credential.source if spec.credential else None
    ca_ref = spec.tls.ca if spec.tls else None
    other_kind = "Secret" if ca_ref is not None and ca_ref.kind == "ConfigMap" else "ConfigMap"
    return ProviderInput(
        spec,
        secret=secret_named(source.name) if isinstance(source, SecretKeyRef) else None,
        variable=env.get(source.name) if isinstance(source, EnvVar) else None,
        ca=None if ca_ref is None else ca_of_kind(ca_ref.kind, ca_ref.name),
        ca_under_other_kind=ca_ref is not None and ca_of_kind(other_kind, ca_ref.name) is not None,
        header_secrets={name: secret_named(name) for name in sorted({ref.name for _, ref in spec.headers.secret})},
    )


def _planned(subject: ProviderInput, prices: Mapping[str, ModelPrices]) -> PlannedProvider:
    key = provider_checks.credential_text(subject)
    return PlannedProvider(
        name=subject.spec.key.display_name,
        spec=subject.spec,
        credential=None if key is None else SecretText(key),
        ca_pem=provider_checks.ca_text(subject),
        header_values={name: SecretText(text) for name, text in provider_checks.header_texts(subject).items()},
        prices=prices,
    )


def _prices(objects: Objects, checking: Checking) -> Mapping[ObjectKey, dict[str, ModelPrices]]:
    """The prices of each Provider by model. Of two Pricings for one model the first by name takes precedence."""
    prices: dict[ObjectKey, dict[str, ModelPrices]] = {}
    holders: dict[tuple[ObjectKey, str], ObjectKey] = {}
    for spec in objects.of(Pricing):
        target = ObjectKey("Provider", spec.key.namespace, spec.provider_ref)
        taken = {model: holder for model in spec.prices if (holder := holders.get((target, model)))}
        inputs = spec, objects.find(Provider, target), taken
        checking.of(spec.key, inputs, partial(_about_pricing, *inputs))
        for model, price in spec.prices.items():
            if holders.setdefault((target, model), spec.key) is spec.key:
                prices.setdefault(target, {})[model] = price
    return prices


def _about_pricing(
    spec: Pricing, provider: Provider | Invalid | None, taken: Mapping[str, ObjectKey]
) -> ObjectFindings:
    subject = PricingInput(spec, provider, taken)
    return _findings(
        accepted=first_failure(checks.PRICING_ACCEPTED, subject) or effects.how_prices_are_read(spec),
        refs=first_failure(checks.PRICING_REFERENCES, subject),
        notes=all_findings(effects.PRICING_EFFECTS, spec),
    )


def _policies(objects: Objects, owner: str | None, names: "_ServedModels", checking: Checking) -> list[StickyPolicy]:
    """Those that are used: one with a pattern of an earlier one is left out, so its other patterns are free."""
    used: list[StickyPolicy] = []
    holders: dict[tuple[str | None, str], ObjectKey] = {}
    for spec in objects.of(StickyPolicy):
        scope = None if owner in (None, spec.key.namespace) else spec.key.namespace
        taken = {pattern: holders[scope, pattern] for pattern in spec.policy.models if (scope, pattern) in holders}
        inputs = spec, taken, None if scope is None else owner, names.of(scope)
        if checking.of(spec.key, inputs, partial(_about_policy, *inputs)).accepted.ok:
            used.append(replace(spec, policy=msgspec.structs.replace(spec.policy, namespace=scope)) if scope else spec)
            holders |= {(scope, pattern): spec.key for pattern in spec.policy.models}
    return used


def _about_policy(
    spec: StickyPolicy, taken: Mapping[str, ObjectKey], owner: str | None, names: ModelNames
) -> ObjectFindings:
    return _findings(
        accepted=first_failure(checks.POLICY_ACCEPTED, PolicyInput(spec, taken, owner)),
        notes=all_findings(effects.POLICY_EFFECTS, PatternInput(spec, names)),
    )


class _ServedModels:
    """The names of the models that are served, collected on first use; equal ones are the same object as before."""

    def __init__(self, providers: Iterable[PlannedProvider], before: Mapping[str | None, ModelNames]) -> None:
        self._providers = providers
        self._before = before
        self.by_namespace: dict[str | None, ModelNames] = {}

    def of(self, namespace: str | None) -> ModelNames:
        """Models of the providers of this namespace; None: of all."""
        if namespace not in self.by_namespace:
            found = ModelNames.of(
                model.name
                for provider in self._providers
                if provider.served and namespace in (None, provider.spec.key.namespace)
                for model in provider.spec.models
            )
            before = self._before.get(namespace)
            self.by_namespace[namespace] = before if before is not None and before == found else found
        return self.by_namespace[namespace]


def _probes(objects: Objects, served: Collection[ObjectKey], checking: Checking) -> Iterable[PlannedProbe]:
    """Those that have somewhere to go: a Provider that can't be probed never keeps the others from it."""
    probes = objects.of(HealthProbe)
    namespaces = NamespaceProviders.by_namespace(objects, {probe.key.namespace for probe in probes})
    for spec in probes:
        providers = namespaces[spec.key.namespace]
        selected = providers.selected(spec)
        named = tuple(providers.by_name.get(name) for name in spec.provider_refs)
        # A name that is missing is compared with all that there are.
        inputs = spec, selected, named, tuple(providers.by_name) if None in named else ()
        checking.of(spec.key, inputs, partial(_about_probe, ProbeInput(spec, providers.by_name, selected)))
        targets = probe_targets(spec, selected, served)
        if targets:
            yield PlannedProbe(spec, targets)


def _about_probe(subject: ProbeInput) -> ObjectFindings:
    return _findings(
        refs=first_failure(checks.PROBE_REFERENCES, subject), notes=all_findings(effects.PROBE_EFFECTS, subject)
    )


def _findings(
    accepted: Finding | None = None, refs: Finding | None = None, notes: tuple[Finding, ...] = ()
) -> ObjectFindings:
    if accepted is None and refs is None and not notes:
        return _FINE
    return ObjectFindings(accepted or ACCEPTED, refs or RESOLVED, notes)


def _invalid(invalid: Invalid) -> ObjectFindings:
    return ObjectFindings(
        not_accepted("Invalid", invalid.message),
        Finding("ResolvedRefs", "Unknown", "Invalid", "references are checked once the object is valid"),
    )
