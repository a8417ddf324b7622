"""A provider's secrets as Envoy gets them by SDS: whole header values, so the cluster needs no prefix."""

from collections.abc import Iterator

from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.encode import Json


def secret_name(provider: str) -> str:
    """The SDS name under which Envoy finds this provider's credential."""
    return f"limpet/credential/{provider}"


def header_secret_name(provider: str, header: str) -> str:
    """The SDS name of a header's value that comes from a Secret."""
    return f"limpet/header/{provider}/{header}"


def provider_secrets(provider: PlannedProvider) -> Iterator[Json]:
    """The credential if it needs one, and each header that is set from a Secret."""
    if provider.spec.credential is not None and provider.credential is not None:
        yield _secret(secret_name(provider.name), provider.spec.credential.prefix + provider.credential.reveal())
    for header, value in provider.header_values.items():
        yield _secret(header_secret_name(provider.name, header), value.reveal())


def _secret(name: str, value: str) -> Json:
    return {"name": name, "generic_secret": {"secret": {"inline_string": value}}}
