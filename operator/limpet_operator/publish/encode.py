"""Envoy resources are dictionaries with Envoy's own field names; here they are checked and become bytes.

Two packages know the types, and an unknown field or a wrong value is an error here and not in Envoy. What never changes
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
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy.extensions.upstreams.http.v3 import http_protocol_options_pb2
from envoy_data_plane import message_pool
from envoy_data_plane.envoy.config.cluster.v3 import ClusterCustomClusterType
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RetryPolicy
from envoy_data_plane.google.protobuf import Struct
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
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
    "filters.http.rbac.v3",
    "filters.http.router.v3",
    "filters.http.set_filter_state.v3",
    "filters.http.set_metadata.v3",
    "filters.http.upstream_codec.v3",
    "filters.network.http_connection_manager.v3",
    "http.early_header_mutation.header_mutation.v3",
    "http.injected_credentials.generic.v3",
    "network.dns_resolver.cares.v3",
    "transport_sockets.raw_buffer.v3",
    "transport_sockets.tls.v3",
    "upstreams.http.v3",
):
    importlib.import_module(f"envoy_data_plane.envoy.extensions.{_package}")
    _generated = importlib.import_module(f"envoy.extensions.{_package}")
    for _file in pkgutil.iter_modules(_generated.__path__):
        importlib.import_module(f"{_generated.__name__}.{_file.name}")


_LUA: Final = f"{TYPE}envoy.extensions.filters.http.lua.v3.Lua"


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
    return Resource(body["name"], type_url, _WRITERS[type_url](body), digest_of(text.encode()))


def _listener(body: Json) -> bytes:
    return bytes(Listener.from_dict(body))


def _secret(body: Json) -> bytes:
    return _bytes(_parsed(body, secret_pb2.Secret()))


def _cluster(body: Json) -> bytes:
    message = _parsed(_without(body, "cluster_type", _OPTIONS), cluster_pb2.Cluster())
    if "cluster_type" in body:
        message.cluster_type.MergeFromString(_discovery(json.dumps(body["cluster_type"])))
    for name, options in body.get(_OPTIONS, {}).items():
        http = _parsed(_without(options, "@type", "http_filters"), http_protocol_options_pb2.HttpProtocolOptions())
        for each in options.get("http_filters", ()):
            http.http_filters.add().MergeFromString(_filter(each))
        message.typed_extension_protocol_options[name].Pack(http)
    return _bytes(message)


_OPTIONS: Final = "typed_extension_protocol_options"


def _filter(body: Json) -> bytes:
    config = body["typed_config"]
    if config.get("type_url") != _LUA:
        return _kept_filter(json.dumps(body))
    message = hcm_pb2.HttpFilter(name=body["name"])
    message.typed_config.type_url = _LUA
    message.typed_config.value = _lua(config["value"])
    return _bytes(message)


def _lua(body: Json) -> bytes:
    """Lua's configuration as a message, not as a `TypedStruct`: every cluster contains the program.

    Envoy turns a `TypedStruct` into JSON and that into the message, which takes a millisecond for the program alone.
    """
    source = _lua_source(body["default_source_code"]["inline_string"])
    return source + _bytes(_parsed(_without(body, "default_source_code"), _NewerLua()))


@lru_cache(maxsize=1)
def _lua_source(program: str) -> bytes:
    return _bytes(lua_pb2.Lua(default_source_code={"inline_string": program}))


def _newer_lua() -> Any:
    """The fields of Envoy 1.40's `Lua` that the packages lack, with the numbers of Envoy's own descriptor."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="limpet/lua.proto", package="limpet", syntax="proto3", dependency=["google/protobuf/struct.proto"]
    )
    message = file.message_type.add(name="NewerLua")
    message.field.add(
        name="filter_context",
        number=6,
        label=field.LABEL_OPTIONAL,
        type=field.TYPE_MESSAGE,
        type_name=".google.protobuf.Struct",
    )
    message.field.add(name="shared_vm_id", number=9, label=field.LABEL_OPTIONAL, type=field.TYPE_STRING)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("limpet.NewerLua"))


_NewerLua: Final = _newer_lua()


def _routes(body: Json) -> bytes:
    hosts = body["virtual_hosts"]
    without_routes = {**body, "virtual_hosts": [_without(host, "routes") for host in hosts]}
    message = _parsed(without_routes, route_pb2.RouteConfiguration())
    for host, written in zip(hosts, message.virtual_hosts, strict=True):
        for route in host["routes"]:
            written.routes.add().MergeFromString(_route(json.dumps(route)))
    return _bytes(message)


_LARGE_ROUTE: Final = 8192
"""Characters. Only those that list models are longer: quickly parsed, often changed and too large to keep."""


def _route(text: str) -> bytes:
    return _parsed_route(text) if len(text) > _LARGE_ROUTE else _kept_route(text)


def _parsed_route(text: str) -> bytes:
    body = json.loads(text)
    refresh = body.get("route", {}).get("retry_policy", {}).pop("refresh_cluster_on_retry", None)
    message = _parsed(body, route_components_pb2.Route())
    if refresh is not None:
        policy = RetryPolicy(refresh_cluster_on_retry=refresh)
        message.route.retry_policy.MergeFromString(bytes(policy))
    return _bytes(message)


_kept_route = lru_cache(maxsize=512)(_parsed_route)
"""Most routes are the same in every plan, and parsing them would be most of the work of a change."""


_WRITERS: Final[dict[str, Callable[[Json], bytes]]] = {
    CLUSTER: _cluster,
    LISTENER: _listener,
    ROUTE: _routes,
    SECRET: _secret,
}


@lru_cache(maxsize=64)
def _kept_filter(text: str) -> bytes:
    return _bytes(_parsed(json.loads(text), hcm_pb2.HttpFilter()))


def _bytes(message: Any) -> bytes:
    written: bytes = message.SerializeToString()
    return written


def _parsed(fields: Json, message: Any) -> Any:
    try:
        return json_format.ParseDict(fields, message)
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error


def _without(body: Json, *keys: str) -> Json:
    return {key: value for key, value in body.items() if key not in keys}


@lru_cache(maxsize=64)
def _discovery(cluster_type: str) -> bytes:
    """Discovery has newer fields, and cannot be a `TypedStruct`; it is the same for nearly all clusters."""
    return bytes(ClusterCustomClusterType.from_dict(json.loads(cluster_type)))
