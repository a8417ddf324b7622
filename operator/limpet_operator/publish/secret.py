"""A provider's secrets as Envoy asks for them by SDS: whole header values, so the cluster needs no prefix."""

from collections.abc import Iterator

from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.cluster import header_secret_name, secret_name
from limpet_operator.publish.encode import Json


def provider_secrets(provider: PlannedProvider) -> Iterator[Json]:
    """The credential if it needs one, and each header that is set from a Secret."""
    if provider.spec.credential is not None and provider.credential is not None:
        yield _secret(secret_name(provider.name), provider.spec.credential.prefix + provider.credential.reveal())
    for header, value in provider.header_values.items():
        yield _secret(header_secret_name(provider.name, header), value.reveal())


def _secret(name: str, value: str) -> Json:
    return {"name": name, "generic_secret": {"secret": {"inline_string": value}}}
