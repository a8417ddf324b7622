"""Envoy resources are written as plain dictionaries in Envoy's own words; here they are checked and become bytes.

Two packages know the types, and an unknown field or a wrong value is an error here and not at Envoy. What there is one
of goes through `envoy-data-plane`, which is newer; what each provider has its own of goes through the generated classes
of `xds-protos`, which need a twentieth of the time. What is newer than both travels as `TypedStruct`, which Envoy
checks against its own schema.
"""

import importlib
import json
import pkgutil
from functools import lru_cache
from typing import Any, Final

import betterproto2
from envoy.config.cluster.v3 import cluster_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2
from envoy_data_plane import message_pool
from envoy_data_plane.envoy.config.cluster.v3 import ClusterCustomClusterType
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from envoy_data_plane.google.protobuf import Struct
from google.protobuf import json_format
from pydantic.dataclasses import dataclass

from limpet_operator.delta import Resource, digest_of

Json = dict[str, Any]

TYPE: Final = "type.googleapis.com/"
CLUSTER: Final = TYPE + "envoy.config.cluster.v3.Cluster"
LISTENER: Final = TYPE + "envoy.config.listener.v3.Listener"
ROUTES: Final = TYPE + "envoy.config.route.v3.RouteConfiguration"
SECRET: Final = TYPE + "envoy.extensions.transport_sockets.tls.v3.Secret"

_ONE: Final[dict[str, type[betterproto2.Message]]] = {LISTENER: Listener, ROUTES: RouteConfiguration}
_MANY: Final[dict[str, Any]] = {CLUSTER: cluster_pb2.Cluster, SECRET: secret_pb2.Secret}

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


def encode(type_url: str, body: Json) -> Resource:
    """The resource as Envoy takes it. Raises KeyError or ValueError when a field is not one of Envoy's."""
    digest = digest_of(json.dumps(body, sort_keys=True).encode())
    if type_url in _ONE:
        return Resource(body["name"], type_url, bytes(_ONE[type_url].from_dict(body)), digest)
    fields = dict(body)
    discovery = fields.pop("cluster_type", None)
    try:
        message = json_format.ParseDict(fields, _MANY[type_url]())
    except json_format.ParseError as error:
        raise ValueError(str(error)) from error
    if discovery is not None:
        message.cluster_type.MergeFromString(_discovery(json.dumps(discovery)))
    return Resource(body["name"], type_url, message.SerializeToString(), digest)


@lru_cache(maxsize=64)
def _discovery(cluster_type: str) -> bytes:
    """How hosts are found is told in newer fields, and not as `TypedStruct`; it is the same for nearly all clusters."""
    return bytes(ClusterCustomClusterType.from_dict(json.loads(cluster_type)))
