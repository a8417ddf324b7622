"""A provider's secrets as Envoy gets them by SDS: whole header values, so the cluster needs no prefix."""

from collections.abc import Iterator
from typing import Final

from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.encode import Json
from limpet_operator.publish.envoy_settings import SERVING_SECRET
from limpet_operator.resources.serving_certificate import ServingCertificate

_CREDENTIAL: Final = "limpet/credential/"


def secret_name(provider: PlannedProvider) -> str:
    """The SDS name under which Envoy finds this provider's credential.

    With its host: Envoy takes a new secret before or after a new cluster, and where both change at once, neither host
    may be sent the other's key.
    """
    return f"{_CREDENTIAL}{provider.name}@{provider.spec.url.authority}"


def provider_of_secret(name: str) -> str | None:
    """Whose credential this is the SDS name of; None: nobody's."""
    provider, at, _ = name.removeprefix(_CREDENTIAL).rpartition("@")
    return provider if name.startswith(_CREDENTIAL) and at else None


def header_secret_name(provider: PlannedProvider, header: str) -> str:
    """The SDS name of a header's value that comes from a Secret; with the host, too."""
    return f"limpet/header/{provider.name}@{provider.spec.url.authority}/{header}"


def provider_secrets(provider: PlannedProvider) -> Iterator[Json]:
    """The credential if it needs one, and each header that is set from a Secret."""
    if provider.spec.credential is not None and provider.credential is not None:
        yield _secret(secret_name(provider), provider.spec.credential.prefix + provider.credential.reveal())
    for header, value in provider.header_values.items():
        yield _secret(header_secret_name(provider, header), value.reveal())


def serving_secret(certificate: ServingCertificate) -> Json:
    """What clients of the gateway are shown, with its key."""
    return {
        "name": SERVING_SECRET,
        "tls_certificate": {
            "certificate_chain": {"inline_string": certificate.chain_pem},
            "private_key": {"inline_string": certificate.key_pem.reveal()},
        },
    }


def _secret(name: str, value: str) -> Json:
    return {"name": name, "generic_secret": {"secret": {"inline_string": value}}}
