"""An XdsServer that is served, and what it reports."""

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from prometheus_client import CollectorRegistry

from limpet_operator.publish.resource import CLUSTER, Resource
from limpet_operator.serve.acknowledgements import Acknowledgements, Nack
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.xds_server import XdsServer


def resource(name: str, body: str = "1", type_url: str = CLUSTER) -> Resource:
    return Resource(name, type_url, body.encode())


class Recorded:
    """An XdsServer with what it called back."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.nacks: list[Nack] = []
        self.acked_nodes: list[str] = []
        self.acks = Acknowledgements()
        metrics = build_metrics(self.registry, "test")
        self.server = XdsServer(self.acks, metrics, self.nacks.append, self.acked_nodes.append)

    def set_all(self, resources: Iterable[Resource]) -> None:
        """Serve exactly these."""
        wanted = list(resources)
        served = {entry.resource.key for each in self.server.resources.by_type.values() for entry in each.values()}
        self.server.publish(wanted, served - {each.key for each in wanted})

    @property
    def refused(self) -> tuple[Nack, ...]:
        return tuple(nack for node in self.acks.connected_gateways for nack in self.acks.refused(node).values())

    def acked(self, type_url: str = CLUSTER, node: str = "n") -> dict[str, str]:
        return dict((self.acks.acknowledged(node) or {}).get(type_url, {}))

    def count(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)


@asynccontextmanager
async def serving(address: str, recorded: Recorded) -> AsyncIterator[None]:
    grpc_server = await serve(address, recorded.server.handler())
    try:
        yield
    finally:
        recorded.server.close()
        await grpc_server.stop(1)
