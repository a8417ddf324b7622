"""A provider's credential as Envoy asks for it by SDS: the whole header value, so the cluster needs no prefix."""

from limpet_operator.plan import PlannedProvider
from limpet_operator.publish.cluster import secret_name
from limpet_operator.publish.encode import Json


def credential_secret(provider: PlannedProvider) -> Json | None:
    """None for a provider that needs no credential."""
    if provider.spec.credential is None or provider.credential is None:
        return None
    value = provider.spec.credential.prefix + provider.credential.reveal()
    return {"name": secret_name(provider.name), "generic_secret": {"secret": {"inline_string": value}}}
