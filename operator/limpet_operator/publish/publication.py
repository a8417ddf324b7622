"""From a plan to all that is published. A resource is built again only if an object that it is made of was replaced."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from limpet_operator.planning.plan import Plan, PlannedProvider
from limpet_operator.publish.catalog import catalog
from limpet_operator.publish.cluster import cluster_of_proxy, provider_cluster
from limpet_operator.publish.encode import Json, encode
from limpet_operator.publish.extproc_cluster import extproc_cluster
from limpet_operator.publish.gateway import EXTPROC_CLUSTER, Gateway
from limpet_operator.publish.headers import kept_for_later_attempts
from limpet_operator.publish.listener import client_listener
from limpet_operator.publish.resource import CLUSTER, LISTENER, ROUTE, SECRET, Key, Publication, Resource
from limpet_operator.publish.route import route_configuration
from limpet_operator.publish.secret import provider_secrets
from limpet_operator.publish.tunnel import tunnel_listener, tunnels
from limpet_operator.publish.wait_levels import wait_levels


def gateway_for(plan: Plan, gateway: Gateway) -> Gateway:
    """The gateway as this plan needs it."""
    return replace(
        gateway,
        header_mode=gateway.header_mode or plan.routing == "Header",
        identity_headers=tuple(dict.fromkeys(h for policy in plan.policies for h in policy.identity_headers)),
        kept_headers=kept_for_later_attempts(plan.providers),
        max_attempts=max((policy.max_attempts for policy in plan.policies), default=gateway.max_attempts),
        wait_levels=wait_levels(provider.spec.timeouts for provider in plan.providers),
        timeouts_move_on=any(policy.on_timeout == "NextProvider" for policy in plan.policies),
    )


def provider_resources(provider: PlannedProvider, gateway: Gateway) -> Iterator[tuple[str, Json]]:
    """Type and body of what belongs to one provider: its cluster, and its secrets if it has some."""
    yield CLUSTER, provider_cluster(provider, gateway)
    for secret in provider_secrets(provider):
        yield SECRET, secret


def common_resources(plan: Plan, gateway: Gateway) -> Iterator[tuple[str, Json]]:
    """Type and body of what every gateway has, whatever its providers."""
    if gateway.extproc_sockets:
        yield CLUSTER, extproc_cluster(gateway, EXTPROC_CLUSTER)
    for proxy in tunnels(plan.providers, gateway):
        yield CLUSTER, cluster_of_proxy(proxy, gateway)
        yield LISTENER, tunnel_listener(proxy)
    yield LISTENER, client_listener(gateway)
    yield ROUTE, route_configuration(plan.providers, gateway)


class Publisher:
    """Keeps the bytes of the last plan, so that one changed provider among a thousand costs one."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._of_provider: dict[str, tuple[PlannedProvider, Mapping[Key, Resource]]] = {}
        self._common: dict[Key, tuple[Json, Resource]] = {}

    def publication(self, plan: Plan) -> Publication:
        """Everything to serve for this plan."""
        gateway = gateway_for(plan, self._gateway)
        resources: dict[Key, Resource] = {}
        of_provider: dict[str, tuple[PlannedProvider, Mapping[Key, Resource]]] = {}
        for provider in plan.providers:
            current = self._of_provider.get(provider.name)
            if current is None or current[0] is not provider:
                built = (encode(type_url, body) for type_url, body in provider_resources(provider, gateway))
                current = provider, {resource.key: resource for resource in built}
            of_provider[provider.name] = current
            resources.update(current[1])
        self._of_provider = of_provider
        for type_url, body in common_resources(plan, gateway):
            key = type_url, body["name"]
            before = self._common.get(key)
            if before is None or before[0] != body:
                before = self._common[key] = body, encode(type_url, body)
            resources[key] = before[1]
        return Publication(resources, catalog(plan))


def rendered(plan: Plan, gateway: Gateway) -> Iterator[tuple[str, Json]]:
    """For people: type and body of every resource, credentials blanked out."""
    gateway = gateway_for(plan, gateway)
    yield from common_resources(plan, gateway)
    for provider in plan.providers:
        for type_url, body in provider_resources(provider, gateway):
            if type_url == SECRET:
                yield type_url, {"name": body["name"], "generic_secret": {"secret": {"inline_string": "(hidden)"}}}
            else:
                yield type_url, body
