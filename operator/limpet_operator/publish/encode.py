"""Envoy resources are written as plain dictionaries in Envoy's own words; here they are checked and become bytes.

`envoy-data-plane` knows the types: an unknown field or a wrong value is an error here and not at Envoy. What is newer
than that package travels as `TypedStruct`, which Envoy checks against its own schema.
"""

import importlib
from typing import Any, Final

import betterproto2
from envoy_data_plane import message_pool
from envoy_data_plane.envoy.config.cluster.v3 import Cluster
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import Secret
from envoy_data_plane.google.protobuf import Struct
from pydantic.dataclasses import dataclass

from limpet_operator.delta import Resource

Json = dict[str, Any]

TYPE: Final = "type.googleapis.com/"
CLUSTER: Final = TYPE + "envoy.config.cluster.v3.Cluster"
LISTENER: Final = TYPE + "envoy.config.listener.v3.Listener"
ROUTES: Final = TYPE + "envoy.config.route.v3.RouteConfiguration"
SECRET: Final = TYPE + "envoy.extensions.transport_sockets.tls.v3.Secret"

_MESSAGES: Final[dict[str, type[betterproto2.Message]]] = {
    CLUSTER: Cluster,
    LISTENER: Listener,
    ROUTES: RouteConfiguration,
    SECRET: Secret,
}

# Importing a package registers its types, so that an `@type` inside a resource is found.
for _package in (
    "access_loggers.filters.cel.v3",
    "access_loggers.grpc.v3",
    "clusters.dns.v3",
    "filters.http.buffer.v3",
    "filters.http.credential_injector.v3",
    "filters.http.ext_proc.v3",
    "filters.http.header_mutation.v3",
    "filters.http.router.v3",
    "filters.http.set_filter_state.v3",
    "filters.http.set_metadata.v3",
    "filters.http.upstream_codec.v3",
    "filters.network.http_connection_manager.v3",
    "http.early_header_mutation.header_mutation.v3",
    "http.injected_credentials.generic.v3",
    "transport_sockets.raw_buffer.v3",
    "upstreams.http.v3",
):
    importlib.import_module(f"envoy_data_plane.envoy.extensions.{_package}")


@dataclass(eq=False, repr=False)
class TypedStruct(betterproto2.Message):
    """xds.type.v3.TypedStruct: a message by name and as JSON, for types that envoy-data-plane does not have."""

    type_url: str = betterproto2.field(1, betterproto2.TYPE_STRING)
    value: Struct | None = betterproto2.field(2, betterproto2.TYPE_MESSAGE, optional=True)


message_pool.default_message_pool.register_message("xds.type.v3", "TypedStruct", TypedStruct)


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


def encode(type_url: str, body: Json) -> Resource:
    """The resource as Envoy takes it. Raises KeyError or ValueError when a field is not one of Envoy's."""
    return Resource(name=body["name"], type_url=type_url, body=bytes(_MESSAGES[type_url].from_dict(body)))
