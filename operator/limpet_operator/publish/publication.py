"""From a plan to all that is published. A resource is built again only if an object that it is made of was replaced."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import chain

from limpet_operator.planning.plan import Plan, PlannedProvider
from limpet_operator.publish.catalog import catalog
from limpet_operator.publish.cluster import cluster_of_proxy, provider_cluster
from limpet_operator.publish.encode import Json, encode
from limpet_operator.publish.envoy_settings import EXTPROC_CLUSTER, EnvoySettings
from limpet_operator.publish.extproc_cluster import extproc_cluster
from limpet_operator.publish.headers import kept_for_later_attempts
from limpet_operator.publish.listener import client_listener, tls_listener
from limpet_operator.publish.probe_listener import probe_listener
from limpet_operator.publish.resource import CLUSTER, LISTENER, ROUTE, SECRET, Publication, Resource, ResourceKey
from limpet_operator.publish.route import route_configuration
from limpet_operator.publish.secret import provider_secrets, serving_secret
from limpet_operator.publish.sidecar_listener import sidecar_listener
from limpet_operator.publish.translation import translator_cluster
from limpet_operator.publish.tunnel import tunnel_listener, tunnels
from limpet_operator.publish.wait_levels import wait_levels


def settings_for(plan: Plan, settings: EnvoySettings) -> EnvoySettings:
    """The gateway as this plan needs it."""
    return replace(
        settings,
        header_mode=settings.header_mode or plan.routing == "Header",
        identity_headers=tuple(dict.fromkeys(h for policy in plan.policies for h in policy.identity_headers)),
        kept_headers=kept_for_later_attempts(plan.providers),
        max_attempts=max((policy.max_attempts for policy in plan.policies), default=settings.max_attempts),
        wait_levels=wait_levels(provider.spec.timeouts for provider in plan.providers),
        longest_unstreamed_s=max(
            (provider.spec.timeouts.unstreamed_s for provider in plan.providers), default=settings.longest_unstreamed_s
        ),
        timeouts_move_on=any(policy.on_timeout == "NextProvider" for policy in plan.policies),
    )


def provider_resources(provider: PlannedProvider, settings: EnvoySettings) -> Iterator[tuple[str, Json]]:
    """Type and body of what belongs to one provider: its cluster, and its secrets if it has some."""
    yield CLUSTER, provider_cluster(provider, settings)
    for secret in provider_secrets(provider):
        yield SECRET, secret


def common_resources(plan: Plan, settings: EnvoySettings) -> Iterator[tuple[str, Json]]:
    """Type and body of what every gateway has, whatever its providers."""
    if settings.extproc_sockets:
        yield CLUSTER, extproc_cluster(settings, EXTPROC_CLUSTER)
        yield CLUSTER, translator_cluster(settings.extproc_sockets)
    for proxy in tunnels(plan.providers, settings):
        yield CLUSTER, cluster_of_proxy(proxy, settings)
        yield LISTENER, tunnel_listener(proxy)
    yield LISTENER, client_listener(settings)
    if settings.tls_port is not None and plan.certificate is not None:
        yield SECRET, serving_secret(plan.certificate)
        yield LISTENER, tls_listener(settings, settings.tls_port)
    if settings.probe_socket:
        yield LISTENER, probe_listener(settings.probe_socket)
    if settings.sidecars is not None:
        yield LISTENER, sidecar_listener(settings.sidecars, settings.listen_host)
    yield ROUTE, route_configuration(plan.providers, settings)


class Publisher:
    """Keeps the bytes of the last plan, so that one changed provider among a thousand costs one."""

    def __init__(self, settings: EnvoySettings) -> None:
        self._settings = settings
        self._of_provider: dict[str, tuple[PlannedProvider, Mapping[ResourceKey, Resource]]] = {}
        self._common: dict[ResourceKey, tuple[Json, Resource]] = {}

    def publication(self, plan: Plan) -> Publication:
        """Everything to serve for this plan."""
        settings = settings_for(plan, self._settings)
        resources: dict[ResourceKey, Resource] = {}
        of_provider: dict[str, tuple[PlannedProvider, Mapping[ResourceKey, Resource]]] = {}
        for provider in plan.providers:
            current = self._of_provider.get(provider.name)
            if current is None or current[0] is not provider:
                built = (encode(type_url, body) for type_url, body in provider_resources(provider, settings))
                current = provider, {resource.key: resource for resource in built}
            of_provider[provider.name] = current
            resources.update(current[1])
        self._of_provider = of_provider
        for type_url, body in common_resources(plan, settings):
            key = type_url, body["name"]
            before = self._common.get(key)
            if before is None or before[0] != body:
                before = self._common[key] = body, encode(type_url, body)
            resources[key] = before[1]
        return Publication(resources, catalog(plan, settings.client_keys, debug=settings.debug))


def rendered(plan: Plan, settings: EnvoySettings) -> Iterator[tuple[str, Json]]:
    """For people: type and body of every resource, credentials blanked out."""
    settings = settings_for(plan, settings)
    of_providers = (each for provider in plan.providers for each in provider_resources(provider, settings))
    for type_url, body in chain(common_resources(plan, settings), of_providers):
        if type_url == SECRET:
            yield type_url, {"name": body["name"], "generic_secret": {"secret": {"inline_string": "(hidden)"}}}
        else:
            yield type_url, body
