"""What the gateway publishes, as one static configuration of another Envoy, and the same with one part left out. Pure.

The other Envoys share the gateway's worker and upstream, so that they differ in this one part alone.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any, Final

from limpet_operator.planning.plan import Plan
from limpet_operator.publish.attempt_filters import ATTEMPT_FILTER
from limpet_operator.publish.bootstrap import bootstrap
from limpet_operator.publish.encode import Json
from limpet_operator.publish.envoy_settings import CLIENT_LISTENER, EXT_PROC_FILTER, UNDECIDED_FILTER, EnvoySettings
from limpet_operator.publish.overload import HEAP_BYTES
from limpet_operator.publish.publication import common_resources, provider_resources, settings_for
from limpet_operator.publish.resource import CLUSTER, LISTENER, ROUTE, SECRET

_HTTP_OPTIONS: Final = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"


def whole(plan: Plan, settings: EnvoySettings, port: int, admin_socket: str) -> Json:
    """All that a gateway with this plan is configured with, for an Envoy that listens to this port on loopback."""
    settings = settings_for(plan, settings)
    found: dict[str, list[Json]] = {CLUSTER: [], LISTENER: [], ROUTE: [], SECRET: []}
    for type_url, body in common_resources(plan, settings):
        if type_url != LISTENER or body["name"] == CLIENT_LISTENER:
            found[type_url].append(copy.deepcopy(body))
    for provider in plan.providers:
        for type_url, body in provider_resources(provider, settings):
            found[type_url].append(_with_static_secrets(copy.deepcopy(body)))
    (listener,), (routes,) = found[LISTENER], found[ROUTE]
    listener["address"]["socket_address"]["port_value"] = port
    listener.pop("additional_addresses", None)
    manager = _manager(listener)
    del manager["rds"]
    manager["route_config"] = routes
    base = bootstrap("limpet-profile", {}, {"pipe": {"path": admin_socket}}, HEAP_BYTES)
    del base["dynamic_resources"]
    resources = {"clusters": found[CLUSTER], "listeners": [listener], "secrets": found[SECRET]}
    return {**base, "static_resources": resources}


def _with_static_secrets(value: Any) -> Any:
    """The same with secrets by their name alone, as they stand in the configuration itself."""
    if isinstance(value, dict):
        return {key: _with_static_secrets(item) for key, item in value.items() if key != "sds_config"}
    return [_with_static_secrets(item) for item in value] if isinstance(value, list) else value


def _manager(listener: Json) -> Json:
    found: Json = listener["filter_chains"][0]["filters"][0]["typed_config"]
    return found


def _managers(config: Json) -> Iterator[Json]:
    return map(_manager, config["static_resources"]["listeners"])


def without_extproc(config: Json) -> Json:
    """Nobody is asked: every request takes the route's own order, and no Lua decides in the worker's place."""
    config = copy.deepcopy(config)
    gone = (EXT_PROC_FILTER, UNDECIDED_FILTER)
    for manager in _managers(config):
        manager["http_filters"] = [each for each in manager["http_filters"] if each["name"] not in gone]
        for host in manager["route_config"]["virtual_hosts"]:
            for place in (host, *host["routes"]):
                for name in gone:
                    place.get("typed_per_filter_config", {}).pop(name, None)
    return config


def without_attempts(config: Json) -> Json:
    """Attempts go out and answers come back as they are: no Lua in the clusters of providers."""
    config = copy.deepcopy(config)
    for cluster in config["static_resources"]["clusters"]:
        options = cluster.get("typed_extension_protocol_options", {}).get(_HTTP_OPTIONS, {})
        if "http_filters" in options:
            options["http_filters"] = [each for each in options["http_filters"] if each["name"] != ATTEMPT_FILTER]
    return config


def without_log(config: Json) -> Json:
    """No access log."""
    config = copy.deepcopy(config)
    for manager in _managers(config):
        del manager["access_log"]
    return config


PARTS: Final[Mapping[str, Callable[[Json], Json]]] = MappingProxyType(
    {"extproc": without_extproc, "attempts": without_attempts, "log": without_log}
)
"""By part of what Envoy does for a request: the configuration without it."""
