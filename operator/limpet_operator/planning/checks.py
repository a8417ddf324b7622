"""The ordered, named checks of Pricings, HealthProbes and StickyPolicies against other objects.

A check is a plain function from an immutable input to a finding, or None if all is well; of a chain the first that
fails decides. Those of Providers are in `provider_checks`, what merely has no effect is in `effects`. Reasons are the
same words in status, logs and `limpet validate`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from zoneinfo import available_timezones

from limpet_operator.planning.finding import Finding, not_accepted, unresolved
from limpet_operator.resources.healthprobe import CompletionCheck, HealthProbe
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import Invalid, ObjectKey, did_you_mean
from limpet_operator.resources.provider import Provider
from limpet_operator.resources.stickypolicy import StickyPolicy


@dataclass(frozen=True, slots=True)
class PricingInput:
    """A Pricing, its Provider, and for each of its models the earlier Pricing that has it, if there is one."""

    spec: Pricing
    provider: Provider | Invalid | None
    priced_by: Mapping[str, ObjectKey]


@dataclass(frozen=True, slots=True)
class ProbeInput:
    """A HealthProbe, all Providers of its namespace by name, and those among them that it selects."""

    spec: HealthProbe
    providers: Mapping[str, Provider | Invalid]
    selected: tuple[Provider, ...]


@dataclass(frozen=True, slots=True)
class PolicyInput:
    """A StickyPolicy, and for each of its patterns the earlier policy that has it, if there is one.

    `owner` is the namespace that owns the gateway, if that is another one; else None.
    """

    spec: StickyPolicy
    taken_by: Mapping[str, ObjectKey]
    owner: str | None = None


Subject = TypeVar("Subject")
Check = Callable[[Subject], Finding | None]


def first_failure(checks: tuple[Check[Subject], ...], subject: Subject) -> Finding | None:
    """The first check that fails, in the chain's order."""
    for check in checks:  # No generator: it takes longer than most checks, of which a plan makes thousands.
        if (failure := check(subject)) is not None:
            return failure
    return None


def provider_exists(subject: PricingInput) -> Finding | None:
    """The Provider whose prices these are exists."""
    if subject.provider is not None:
        return None
    name, namespace = subject.spec.provider_ref, subject.spec.key.namespace
    message = f"there is no Provider {name} in namespace {namespace}; create it, or correct spec.providerRef.name"
    return unresolved("ProviderNotFound", message)


def priced_models_are_served(subject: PricingInput) -> Finding | None:
    """The Provider serves every model that is priced; the prices of its other models still apply."""
    if not isinstance(subject.provider, Provider):
        return None
    served = {model.name for model in subject.provider.models}
    for name in subject.spec.prices:
        if name not in served:
            message = f"Provider {subject.spec.provider_ref} does not serve {name}; correct the name"
            return unresolved("ModelNotServed", message + did_you_mean(name, served))
    return None


def zones_exist(subject: PricingInput) -> Finding | None:
    """The zone of every window exists; a window without one is left out, the rest of the prices applies."""
    for number, window in enumerate(subject.spec.windows):
        if not window.zone_is_known:
            unknown = f'spec.windows[{number}].timeZone: "{window.zone}" is not in the IANA time zone database'
            left_out = f"window {window.name} is left out, and its hours have the usual prices"
            message = f"{unknown}; {left_out}; correct it{did_you_mean(window.zone, available_timezones())}"
            return unresolved("TimeZoneNotFound", message)
    return None


def prices_are_unique(subject: PricingInput) -> Finding | None:
    """No other Pricing of the Provider, earlier by name, prices the same model."""
    for model, other in subject.priced_by.items():
        message = f"{model} of Provider {subject.spec.provider_ref} is already priced by Pricing {other.name}"
        return not_accepted("Conflicted", f"{message}, which takes precedence; remove the model from one of them")
    return None


def probed_providers_exist(subject: ProbeInput) -> Finding | None:
    """Every Provider that is probed by name exists."""
    for name in subject.spec.provider_refs:
        if name not in subject.providers:
            missing = f"there is no Provider {name} in namespace {subject.spec.key.namespace}{_others(subject)}"
            message = f"{missing}; correct spec.providerRefs{did_you_mean(name, subject.providers)}"
            return unresolved("ProviderNotFound", message)
    return None


def probed_providers_are_accepted(subject: ProbeInput) -> Finding | None:
    """Every Provider that is probed by name is accepted."""
    for name in subject.spec.provider_refs:
        if isinstance(subject.providers.get(name), Invalid):
            message = f"Provider {name} is not accepted, so it is not probed{_others(subject)}"
            return unresolved("ProviderNotAccepted", f"{message}; correct it first")
    return None


def _others(subject: ProbeInput) -> str:
    """What becomes of the Providers with which nothing is wrong."""
    return " (the others are probed)" if subject.selected else ""


def something_is_selected(subject: ProbeInput) -> Finding | None:
    """At least one Provider is probed."""
    if subject.selected:
        return None
    advice = "correct spec.providerSelector.matchLabels, or label the Providers"
    message = f"no Provider in namespace {subject.spec.key.namespace} is selected"
    return unresolved("NothingSelected", f"{message}; {advice}" if subject.spec.selector is not None else message)


def probed_model_is_served(subject: ProbeInput) -> Finding | None:
    """Every Provider that is probed by a completion serves its model."""
    if not isinstance(subject.spec.check, CompletionCheck):
        return None
    model = subject.spec.check.model
    for provider in subject.selected:
        served = [each.name for each in provider.models]
        if model not in served:
            near = did_you_mean(model, served)
            message = f"Provider {provider.key.name} does not serve {model}; correct spec.completion.model{near}"
            return unresolved("ModelNotServed", message)
    return None


def patterns_are_unique(subject: PolicyInput) -> Finding | None:
    """No other StickyPolicy, earlier by name, has the same pattern."""
    for pattern, other in subject.taken_by.items():
        return not_accepted(
            "Conflicted", f'"{pattern}" is already in {other}, which takes precedence; remove it from one of them'
        )
    return None


def routing_is_the_owners(subject: PolicyInput) -> Finding | None:
    """A policy for some models does not decide how Envoy learns the provider of every request."""
    if subject.owner is None or subject.spec.routing == "Metadata":
        return None
    message = f"routing: {subject.spec.routing} changes the whole gateway, which namespace {subject.owner} decides"
    return not_accepted("NotPermitted", f"{message}; remove spec.routing")


PRICING_ACCEPTED: tuple[Check[PricingInput], ...] = (prices_are_unique,)
PRICING_REFERENCES: tuple[Check[PricingInput], ...] = (provider_exists, priced_models_are_served, zones_exist)
PROBE_REFERENCES: tuple[Check[ProbeInput], ...] = (
    probed_providers_exist,
    probed_providers_are_accepted,
    something_is_selected,
    probed_model_is_served,
)
POLICY_ACCEPTED: tuple[Check[PolicyInput], ...] = (patterns_are_unique, routing_is_the_owners)
