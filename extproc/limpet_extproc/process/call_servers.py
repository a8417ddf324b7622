"""Which server answers Envoy's calls."""

from collections.abc import Callable

from limpet_extproc.envoy.calls import CallServer, Find
from limpet_extproc.envoy.grpc_server import Server
from limpet_extproc.process.settings import ServerName


def call_server(name: ServerName, find: Find, on_alone: Callable[[], None] = lambda: None) -> CallServer:
    """The server of that name; `on_alone` is called when the last connection has closed."""
    if name == "own":
        return Server(find, on_alone=on_alone)
    # gRPC takes time and memory to load, which a translator does without.
    from limpet_extproc.envoy.grpcio_server import GrpcioServer

    return GrpcioServer(find, on_alone=on_alone)
