"""The ordered, named checks of what one object says about others.

A check is a plain function from an immutable input to (reason, message), or None if all is well; of a chain the first
that fails decides. Reasons are the same words in status, metrics, logs and `limpet validate`.
"""

import ssl
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

from limpet_operator.resources.healthprobe import CompletionCheck, HealthProbe
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import Invalid, ObjectKey, named, suggestion
from limpet_operator.resources.provider import EnvVar, Provider, SecretKeyRef
from limpet_operator.resources.secret import ConfigMapObject, SecretObject
from limpet_operator.resources.stickypolicy import StickyPolicy


class Failure(NamedTuple):
    """Why an object is not used as it is written: one CamelCase word, and what to do."""

    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class ProviderInput:
    """A Provider and what its references lead to; None: nothing there. An Invalid is there, but of no use."""

    spec: Provider
    secret: SecretObject | Invalid | None = None
    variable: str | None = None
    ca: SecretObject | ConfigMapObject | Invalid | None = None
    ca_under_other_kind: bool = False
    header_secrets: Mapping[str, SecretObject | Invalid | None] = field(default_factory=dict)
    """The Secrets by name that `spec.headers.set` refers to."""


@dataclass(frozen=True, slots=True)
class PricingInput:
    """A Pricing, its Provider, and for each of its models the Pricing that was there first, if there is one."""

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
    """A StickyPolicy, and for each of its patterns the policy that has it already, if there is one.

    `owner` is the namespace that decides about the whole gateway, where that is another one; else None.
    """

    spec: StickyPolicy
    taken_by: Mapping[str, ObjectKey]
    owner: str | None = None


Subject = TypeVar("Subject")
Check = Callable[[Subject], Failure | None]


def first_failure(checks: tuple[Check[Subject], ...], subject: Subject) -> Failure | None:
    """The first check that fails, in the chain's order."""
    for check in checks:  # No generator: it takes longer than most checks, of which a plan makes thousands.
        if (failure := check(subject)) is not None:
            return failure
    return None


def credential_text(subject: ProviderInput) -> str | None:
    """The API key as it will be sent, without the newline at the end that editors leave; None if there is none."""
    return _text(_credential_bytes(subject))


def ca_text(subject: ProviderInput) -> str | None:
    """The PEM certificates of the private authority; None if there are none."""
    ref = subject.spec.tls.ca if subject.spec.tls else None
    if ref is None or subject.ca is None or isinstance(subject.ca, Invalid):
        return None
    return subject.ca.values.get(ref.key, b"").decode("ascii", errors="replace")


def header_texts(subject: ProviderInput) -> dict[str, str]:
    """The values of headers that are set from Secrets, by header, as far as they are there and can be sent."""
    found = {}
    for header, ref in subject.spec.headers.secret:
        secret = subject.header_secrets.get(ref.name)
        text = _text(secret.values.get(ref.key)) if isinstance(secret, SecretObject) else None
        if text is not None:
            found[header.name] = text
    return found


def secret_exists(subject: ProviderInput) -> Failure | None:
    """The Secret is there and could be read."""
    credential = subject.spec.credential
    if credential is None or isinstance(credential.source, EnvVar):
        return None
    return _unreadable(subject, credential.source, subject.secret, "spec.credential.secretRef")


def secret_has_key(subject: ProviderInput) -> Failure | None:
    """The Secret has the key that is asked for."""
    credential = subject.spec.credential
    if credential is None or isinstance(credential.source, EnvVar) or not isinstance(subject.secret, SecretObject):
        return None
    return _without_key(credential.source, subject.secret, "spec.credential.secretRef")


def variable_is_set(subject: ProviderInput) -> Failure | None:
    """The environment variable is set."""
    credential = subject.spec.credential
    if credential is None or not isinstance(credential.source, EnvVar) or subject.variable is not None:
        return None
    advice = "on a laptop export it before starting, in a cluster use spec.credential.secretRef"
    return Failure("EnvVarNotSet", f"environment variable {named(credential.source.name)} is not set; {advice}")


def value_is_sendable(subject: ProviderInput) -> Failure | None:
    """The API key can be the value of an HTTP header."""
    credential, raw = subject.spec.credential, _credential_bytes(subject)
    if credential is None or raw is None:
        return None
    source = credential.source
    where = f"variable {source.name}" if isinstance(source, EnvVar) else f"key {source.key} of Secret {source.name}"
    text = credential_text(subject)
    failure = _unsendable(where, text, "the API key")
    if failure is not None:
        return failure
    if text is not None and text.lower().startswith("bearer "):
        return Failure(
            "SecretValueInvalid", f"{where} begins with Bearer, which is added anyway; write the API key alone"
        )
    return None


def header_secrets_are_there(subject: ProviderInput) -> Failure | None:
    """Each header that is set from a Secret finds a value there that can be sent."""
    for header, ref in subject.spec.headers.secret:
        position = subject.spec.headers.set.index(header)
        where, secret = f"spec.headers.set[{position}].secretRef", subject.header_secrets.get(ref.name)
        failure = _unreadable(subject, ref, secret, where)
        if failure is None and isinstance(secret, SecretObject):
            failure = _without_key(ref, secret, where) or _unsendable(
                f"key {named(ref.key)} of Secret {named(ref.name)}",
                _text(secret.values[ref.key]),
                f"the value of {header.name}",
            )
        if failure is not None:
            return failure
    return None


def _unreadable(
    subject: ProviderInput, ref: SecretKeyRef, secret: SecretObject | Invalid | None, field: str
) -> Failure | None:
    name = named(ref.name)
    if secret is None:
        wanted = f"there is no Secret {name} in namespace {subject.spec.key.namespace}"
        return Failure("SecretNotFound", f"{wanted}; create it, or correct {field}.name")
    if isinstance(secret, Invalid):
        return Failure("SecretValueInvalid", f"Secret {name} can't be read: {secret.message}")
    return None


def _without_key(ref: SecretKeyRef, secret: SecretObject, field: str) -> Failure | None:
    if ref.key in secret.values:
        return None
    known = ", ".join(sorted(secret.values)) or "none"
    message = f"Secret {named(ref.name)} has no key {named(ref.key)} (it has: {known}); add it, or correct {field}.key"
    return Failure("SecretKeyNotFound", message)


def _unsendable(where: str, text: str | None, what: str) -> Failure | None:
    """Why a text can't be the value of a header; None: it can. The text itself is never shown."""
    if text is None:
        return Failure("SecretValueInvalid", f"{where} is not UTF-8; write {what} as plain text")
    if not text.strip():
        return Failure("SecretValueInvalid", f"{where} is empty; write {what}")
    if any(character < " " or character == "\x7f" for character in text):
        return Failure("SecretValueInvalid", f"{where} holds a line break or control character; write {what} alone")
    return None


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return None


def ca_exists(subject: ProviderInput) -> Failure | None:
    """The certificate authority is there, under the kind, name and key that are asked for."""
    ref = subject.spec.tls.ca if subject.spec.tls else None
    if ref is None:
        return None
    where, field = f"{ref.kind} {ref.name}", "spec.tls.caCertificateRef"
    if subject.ca is None:
        other = "Secret" if ref.kind == "ConfigMap" else "ConfigMap"
        advice = f"there is a {other} of that name: write kind: {other}" if subject.ca_under_other_kind else "create it"
        message = f"there is no {where} in namespace {subject.spec.key.namespace}; {advice}, or correct {field}"
        return Failure("CACertificateNotFound", message)
    if isinstance(subject.ca, Invalid):
        return Failure("CACertificateInvalid", f"{where} can't be read: {subject.ca.message}")
    if ref.key not in subject.ca.values:
        known = ", ".join(sorted(subject.ca.values)) or "none"
        return Failure("CACertificateNotFound", f"{where} has no key {ref.key} (it has: {known}); correct {field}.key")
    return None


def ca_is_certificate(subject: ProviderInput) -> Failure | None:
    """The certificate authority is PEM that TLS can be verified with."""
    text = ca_text(subject)
    if text is None or subject.spec.tls is None or subject.spec.tls.ca is None:
        return None
    ref = subject.spec.tls.ca
    where = f"key {ref.key} of {ref.kind} {ref.name}"
    if "PRIVATE KEY-----" in text:
        return Failure("CACertificateInvalid", f"{where} holds a private key; write the authority's certificate only")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        advice = "write one or more certificates that begin with -----BEGIN CERTIFICATE-----"
        return Failure("CACertificateInvalid", f"{where} is no PEM certificate; {advice}")
    return None


def provider_exists(subject: PricingInput) -> Failure | None:
    """The Provider whose prices these are is there."""
    if subject.provider is not None:
        return None
    name, namespace = subject.spec.provider_ref, subject.spec.key.namespace
    message = f"there is no Provider {name} in namespace {namespace}; create it, or correct spec.providerRef.name"
    return Failure("ProviderNotFound", message)


def priced_models_are_served(subject: PricingInput) -> Failure | None:
    """The Provider serves every model that is priced; prices of the others hold all the same."""
    if not isinstance(subject.provider, Provider):
        return None
    served = {model.name for model in subject.provider.models}
    for name in subject.spec.prices:
        if name not in served:
            message = f"Provider {subject.spec.provider_ref} does not serve {name}; correct the name"
            return Failure("ModelNotServed", message + suggestion(name, served))
    return None


def prices_are_unique(subject: PricingInput) -> Failure | None:
    """No other Pricing of the Provider, earlier by name, prices the same model."""
    for model, other in subject.priced_by.items():
        message = (
            f"{model} of Provider {subject.spec.provider_ref} is priced by Pricing {other.name} already, which holds"
        )
        return Failure("Conflicted", f"{message}; take the model out of one of them")
    return None


def probed_providers_exist(subject: ProbeInput) -> Failure | None:
    """Every Provider that is probed by name is there."""
    for name in subject.spec.provider_refs:
        if name not in subject.providers:
            message = (
                f"there is no Provider {name} in namespace {subject.spec.key.namespace}; correct spec.providerRefs"
            )
            return Failure("ProviderNotFound", message + suggestion(name, subject.providers))
    return None


def something_is_selected(subject: ProbeInput) -> Failure | None:
    """At least one Provider is probed."""
    if subject.selected:
        return None
    advice = "correct spec.providerSelector.matchLabels, or label the Providers"
    message = f"no Provider in namespace {subject.spec.key.namespace} is selected"
    return Failure("NothingSelected", f"{message}; {advice}" if subject.spec.selector is not None else message)


def probed_model_is_served(subject: ProbeInput) -> Failure | None:
    """Every Provider that is probed by a completion serves its model."""
    if not isinstance(subject.spec.check, CompletionCheck):
        return None
    model = subject.spec.check.model
    for provider in subject.selected:
        served = [each.name for each in provider.models]
        if model not in served:
            near = suggestion(model, served)
            message = f"Provider {provider.key.name} does not serve {model}; correct spec.completion.model{near}"
            return Failure("ModelNotServed", message)
    return None


def patterns_are_unique(subject: PolicyInput) -> Failure | None:
    """No other StickyPolicy, earlier by name, has the same pattern."""
    for pattern, other in subject.taken_by.items():
        return Failure("Conflicted", f'"{pattern}" is in {other} already, which holds; take it out of one of them')
    return None


def routing_is_the_owners(subject: PolicyInput) -> Failure | None:
    """Who may decide about some models does not decide how Envoy is told the provider of every request."""
    if subject.owner is None or subject.spec.routing == "Metadata":
        return None
    message = f"routing: {subject.spec.routing} changes the whole gateway, which namespace {subject.owner} decides"
    return Failure("NotPermitted", f"{message}; take spec.routing out")


def _credential_bytes(subject: ProviderInput) -> bytes | None:
    credential = subject.spec.credential
    if credential is None:
        return None
    if isinstance(credential.source, EnvVar):
        return None if subject.variable is None else subject.variable.encode(errors="surrogateescape")
    return subject.secret.values.get(credential.source.key) if isinstance(subject.secret, SecretObject) else None


PROVIDER_REFERENCES: tuple[Check[ProviderInput], ...] = (
    secret_exists,
    secret_has_key,
    variable_is_set,
    value_is_sendable,
    header_secrets_are_there,
    ca_exists,
    ca_is_certificate,
)
PRICING_ACCEPTED: tuple[Check[PricingInput], ...] = (prices_are_unique,)
PRICING_REFERENCES: tuple[Check[PricingInput], ...] = (provider_exists, priced_models_are_served)
PROBE_REFERENCES: tuple[Check[ProbeInput], ...] = (
    probed_providers_exist,
    something_is_selected,
    probed_model_is_served,
)
POLICY_ACCEPTED: tuple[Check[PolicyInput], ...] = (patterns_are_unique, routing_is_the_owners)
