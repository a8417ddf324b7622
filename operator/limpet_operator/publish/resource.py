"""What is published: Envoy's resources as bytes, and the catalog for ext_proc."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from limpet_extproc.contract.catalog import Catalog

TYPE: Final = "type.googleapis.com/"
CLUSTER: Final = TYPE + "envoy.config.cluster.v3.Cluster"
LISTENER: Final = TYPE + "envoy.config.listener.v3.Listener"
ROUTE: Final = TYPE + "envoy.config.route.v3.RouteConfiguration"
SECRET: Final = TYPE + "envoy.extensions.transport_sockets.tls.v3.Secret"

ResourceKey = tuple[str, str]
"""Type URL and name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One Envoy resource. `body` is the serialized message, without the `Any` around it."""

    name: str
    type_url: str
    body: bytes
    digest: str = ""
    """A short hash of the content, the same at every replica: each process encodes a body with maps differently. Empty:
    the hash of the body itself."""

    @property
    def key(self) -> ResourceKey:
        """Type URL and name."""
        return self.type_url, self.name


def digest_of(content: bytes) -> str:
    """The version of a resource."""
    return blake2b(content, digest_size=8).hexdigest()


@dataclass(frozen=True, slots=True)
class Publication:
    """All that a plan comes to in the data path."""

    resources: Mapping[ResourceKey, Resource]
    catalog: Catalog
