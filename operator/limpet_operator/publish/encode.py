"""Envoy resources are written as plain dictionaries in Envoy's own words; here they are checked and become bytes.

Two packages know the types, and an unknown field or a wrong value is an error here and not at Envoy. What never changes
goes through `envoy-data-plane`, which is newer; what changes with providers goes through the generated classes of
`xds-protos`, which need a twentieth of the time, and only the fields that these lack are added from the other. What is
newer than both travels as `TypedStruct`, which Envoy checks against its own schema.
"""

import importlib
import json
import pkgutil
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final

import betterproto2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy_data_plane import message_pool
from envoy_data_plane.envoy.config.cluster.v3 import ClusterCustomClusterType
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RetryPolicy
from envoy_data_plane.google.protobuf import Struct
from google.protobuf import json_format
from pydantic.dataclasses import dataclass

from limpet_operator.publish.resource import CLUSTER, LISTENER, ROUTE, SECRET, TYPE, Resource, digest_of

Json = dict[str, Any]

# Importing a package registers its types, so that an `@type` inside a resource is found.
for _package in (
    "access_loggers.filters.cel.v3",
    "access_loggers.grpc.v3",
    "clusters.dns.v3",
    "filters.http.buffer.v3",
    "filters.http.cors.v3",
    "filters.http.credential_injector.v3",
    "filters.http.ext_proc.v3",
    "filters.http.header_mutation.v3",
    "filters.http.health_check.v3",
    "filters.http.lua.v3",
    "filters.http.router.v3",
    "filters.http.set_filter_state.v3",
    "filters.http.set_metadata.v3",
    "filters.http.upstream_codec.v3",
    "filters.network.http_connection_manager.v3",
    "http.early_header_mutation.header_mutation.v3",
    "http.injected_credentials.generic.v3",
    "transport_sockets.raw_buffer.v3",
    "transport_sockets.tls.v3",
    "upstreams.http.v3",
):
    importlib.import_module(f"envoy_data_plane.envoy.extensions.{_package}")
    _generated = importlib.import_module(f"envoy.extensions.{_package}")
    for _file in pkgutil.iter_modules(_generated.__path__):
        importlib.import_module(f"{_generated.__name__}.{_file.name}")


@dataclass(eq=False, repr=False)
class TypedStruct(betterproto2.Message):
    """xds.type.v3.TypedStruct: a message by name and as JSON, for types that envoy-data-plane does not have."""

    type_url: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: Struct | None = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


message_pool.default_message_pool.register_message("xds.type.v3", "TypedStruct", TypedStruct)
importlib.import_module("xds.type.v3.typed_struct_pb2")


def typed(extension: str, **fields: Any) -> Json:
    """A `typed_config` of an Envoy extension, named by its full type without the leading `envoy.extensions.`."""
    return {"@type": f"{TYPE}envoy.extensions.{extension}", **fields}


def typed_struct(extension: str, **fields: Any) -> Json:
    """The same for an extension, or for fields of one, that Envoy 1.40 has and envoy-data-plane 2.2 has not."""
    return {
        "@type": TYPE + "xds.type.v3.TypedStruct",
        "type_url": f"{TYPE}envoy.extensions.{extension}",
        "value": fields,
    }


def set_header(key: str, value: str) -> Json:
    """A header with exactly this value, whatever was there before."""
    return {"header": {"key": key, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def listening(host: str, port: int) -> Json:
    """The address of a listener; `::` is every address of IPv4 as well."""
    address: Json = {"address": host, "port_value": port}
    return {"socket_address": {**address, "ipv4_compat": True} if host == "::" else address}


def encode(type_url: str, body: Json) -> Resource:
    """The resource as Envoy takes it. Raises KeyError or ValueError when a field is not one of Envoy's."""
    text = json.dumps(body, sort_keys=True)
    # Where fields are taken out, they are taken out of a copy.
    written = _WRITERS[type_url](json.loads(text))
    return Resource(body["name"], type_url, written, digest_of(text.encode()))


def _listener(body: Json) -> bytes:
    return bytes(Listener.from_dict(body))


def _secret(body: Json) -> bytes:
    return _bytes(_parsed(body, secret_pb2.Secret()))


def _cluster(body: Json) -> bytes:
    discovery = body.pop("cluster_type", None)
    message = _parsed(body, cluster_pb2.Cluster())
    if discovery is not None:
        message.cluster_type.MergeFromString(_discovery(json.dumps(discovery)))
    return _bytes(message)


def _routes(body: Json) -> bytes:
    routes = [route for host in body["virtual_hosts"] for route in host["routes"]]
    retries = [route.get("route", {}).get("retry_policy", {}) for route in routes]
    refreshes = [policy.pop("refresh_cluster_on_retry", None) for policy in retries]
    message = _parsed(body, route_pb2.RouteConfiguration())
    parsed = [route for host in message.virtual_hosts for route in host.routes]
    for route, refresh in zip(parsed, refreshes, strict=True):
        if refresh is not None:
            policy = RetryPolicy(refresh_cluster_on_retry=refresh)
            route.route.retry_policy.MergeFromString(bytes(policy))
    return _bytes(message)


_WRITERS: Final[dict[str, Callable[[Json], bytes]]] = {
    CLUSTER: _cluster,
    LISTENER: _listener,
    ROUTE: _routes,
    SECRET: _secret,
}


def _bytes(message: Any) -> bytes:
    written: bytes = message.SerializeToString()
    return written


def _parsed(fields: Json, message: Any) -> Any:
    try:
        return json_format.ParseDict(fields, message)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error


@lru_cache(maxsize=64)
def _discovery(cluster_type: str) -> bytes:
    """How hosts are found is told in newer fields, and not as `TypedStruct`; it is the same for nearly all clusters."""
    return bytes(ClusterCustomClusterType.from_dict(json.loads(cluster_type)))
