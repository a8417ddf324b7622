"""Where the programs of the bed find each other: every path and port is chosen before the first of them starts."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from limpet_extproc.contract.envoy import extproc_socket
from limpet_operator.laptop.machine import free_port

WORKERS = 2
"""Beside each gateway."""


class GatewayPlace(msgspec.Struct, frozen=True):
    """One gateway with its replica of the operator; it travels to the operator's process as JSON."""

    name: str
    """Envoy's node id, and the identity of the replica."""
    folder: str
    port: int
    """Where clients find it."""
    pages_port: int
    """Where the workers' parent serves its pages."""

    @property
    def operator(self) -> str:
        """The operator's address for gRPC."""
        return f"unix:{self.folder}/operator.sock"

    @property
    def admin(self) -> Path:
        """Envoy's admin socket."""
        return Path(self.folder, "admin.sock")

    @property
    def status(self) -> Path:
        """Where the replica writes what its status would be in a cluster."""
        return Path(self.folder, "status.json")

    @property
    def workers(self) -> tuple[str, ...]:
        """The workers' sockets."""
        return tuple(str(Path(self.folder, extproc_socket(number))) for number in range(WORKERS))

    @property
    def base_url(self) -> str:
        """The gateway, for an SDK."""
        return f"http://127.0.0.1:{self.port}/v1"


class OperatorOrder(msgspec.Struct, frozen=True):
    """What a replica of the operator is started with."""

    place: GatewayPlace
    peers: tuple[str, ...]
    """The addresses of all replicas."""
    objects: str
    """The directory of YAML."""
    name_server_port: int


def gateway_places(folder: Path, names: Sequence[str]) -> tuple[GatewayPlace, ...]:
    """A place for each of these gateways, below `folder`."""
    places = []
    for name in names:
        own = folder / name
        own.mkdir()
        places.append(GatewayPlace(name, str(own), free_port(), free_port()))
    return tuple(places)
