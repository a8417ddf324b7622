"""The ordered, named checks of a Provider's references: Secrets, variables and certificate authorities."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field

from limpet_operator.planning.checks import Check
from limpet_operator.planning.finding import Finding, not_accepted, unresolved
from limpet_operator.resources.problem import Invalid, named
from limpet_operator.resources.provider import EnvVar, Provider, SecretKeyRef
from limpet_operator.resources.secret import ConfigMapObject, SecretObject


@dataclass(frozen=True, slots=True)
class ProviderInput:
    """A Provider and the objects that it refers to; None: there is none, Invalid: there is one that can't be used."""

    spec: Provider
    secret: SecretObject | Invalid | None = None
    variable: str | None = None
    ca: SecretObject | ConfigMapObject | Invalid | None = None
    ca_under_other_kind: bool = False
    header_secrets: Mapping[str, SecretObject | Invalid | None] = field(default_factory=dict)
    """The Secrets by name that `spec.headers.set` refers to."""


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
    """The values of headers that are set from Secrets, by header, where they exist and can be sent."""
    found = {}
    for header, ref in subject.spec.headers.secret:
        secret = subject.header_secrets.get(ref.name)
        text = _text(secret.values.get(ref.key)) if isinstance(secret, SecretObject) else None
        if text is not None:
            found[header.name] = text
    return found


def something_is_served(subject: ProviderInput) -> Finding | None:
    """It speaks an API that the gateway can serve."""
    if subject.spec.dialects or subject.spec.endpoints:
        return None
    message = "spec.dialects is empty and there are no spec.endpoints, so no request can go there"
    return not_accepted("ServesNothing", f"{message}; name the APIs that it serves, such as endpoints: [embeddings]")


def secret_exists(subject: ProviderInput) -> Finding | None:
    """The Secret exists and could be read."""
    credential = subject.spec.credential
    if credential is None or isinstance(credential.source, EnvVar):
        return None
    return _unreadable(subject, credential.source, subject.secret, "spec.credential.secretRef")


def secret_has_key(subject: ProviderInput) -> Finding | None:
    """The Secret has the key that the credential names."""
    credential = subject.spec.credential
    if credential is None or isinstance(credential.source, EnvVar) or not isinstance(subject.secret, SecretObject):
        return None
    return _without_key(credential.source, subject.secret, "spec.credential.secretRef")


def variable_is_set(subject: ProviderInput) -> Finding | None:
    """The environment variable is set."""
    credential = subject.spec.credential
    if credential is None or not isinstance(credential.source, EnvVar) or subject.variable is not None:
        return None
    advice = "on a laptop export it before starting, in a cluster use spec.credential.secretRef"
    return unresolved("EnvVarNotSet", f"environment variable {named(credential.source.name)} is not set; {advice}")


def value_is_sendable(subject: ProviderInput) -> Finding | None:
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
        return unresolved(
            "SecretValueInvalid", f"{where} begins with Bearer, which is added anyway; store the API key alone"
        )
    return None


def header_secrets_exist(subject: ProviderInput) -> Finding | None:
    """Each header that is set from a Secret has a value there that can be sent."""
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
) -> Finding | None:
    name = named(ref.name)
    if secret is None:
        message = f"there is no Secret {name} in namespace {subject.spec.key.namespace}"
        return unresolved("SecretNotFound", f"{message}; create it, or correct {field}.name")
    if isinstance(secret, Invalid):
        return unresolved("SecretValueInvalid", f"Secret {name} can't be read: {secret.message}")
    return None


def _without_key(ref: SecretKeyRef, secret: SecretObject, field: str) -> Finding | None:
    if ref.key in secret.values:
        return None
    keys = ", ".join(sorted(secret.values)) or "none"
    message = f"Secret {named(ref.name)} has no key {named(ref.key)} (it has: {keys}); add it, or correct {field}.key"
    return unresolved("SecretKeyNotFound", message)


def _unsendable(where: str, text: str | None, what: str) -> Finding | None:
    """Why a text can't be the value of a header; None: it can. The text itself is never shown."""
    if text is None:
        return unresolved("SecretValueInvalid", f"{where} is not UTF-8; store {what} as plain text")
    if not text.strip():
        return unresolved("SecretValueInvalid", f"{where} is empty; store {what}")
    if any(character < " " or character == "\x7f" for character in text):
        return unresolved(
            "SecretValueInvalid", f"{where} contains a line break or control character; store {what} alone"
        )
    return None


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError:
        return None


def ca_exists(subject: ProviderInput) -> Finding | None:
    """The certificate authority exists, under the kind, name and key that the reference names."""
    ref = subject.spec.tls.ca if subject.spec.tls else None
    if ref is None:
        return None
    where, field = f"{ref.kind} {ref.name}", "spec.tls.caCertificateRef"
    if subject.ca is None:
        other = "Secret" if ref.kind == "ConfigMap" else "ConfigMap"
        advice = f"there is a {other} of that name: set kind: {other}" if subject.ca_under_other_kind else "create it"
        message = f"there is no {where} in namespace {subject.spec.key.namespace}; {advice}, or correct {field}"
        return unresolved("CACertificateNotFound", message)
    if isinstance(subject.ca, Invalid):
        return unresolved("CACertificateInvalid", f"{where} can't be read: {subject.ca.message}")
    if ref.key not in subject.ca.values:
        keys = ", ".join(sorted(subject.ca.values)) or "none"
        return unresolved(
            "CACertificateNotFound", f"{where} has no key {ref.key} (it has: {keys}); correct {field}.key"
        )
    return None


def ca_is_certificate(subject: ProviderInput) -> Finding | None:
    """The certificate authority is PEM that TLS can be verified with."""
    text = ca_text(subject)
    if text is None or subject.spec.tls is None or subject.spec.tls.ca is None:
        return None
    ref = subject.spec.tls.ca
    where = f"key {ref.key} of {ref.kind} {ref.name}"
    if "PRIVATE KEY-----" in text:
        return unresolved(
            "CACertificateInvalid", f"{where} contains a private key; store only the authority's certificate"
        )
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=text)
    except (ssl.SSLError, ValueError):
        advice = "store one or more certificates that begin with -----BEGIN CERTIFICATE-----"
        return unresolved("CACertificateInvalid", f"{where} is not a PEM certificate; {advice}")
    return None


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
    header_secrets_exist,
    ca_exists,
    ca_is_certificate,
)
