"""A mesh that lets nothing out but at its edge: `--egress-gateway` brings the gateway's requests through it."""

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import pytest
import pytest_asyncio
from tests.cluster.world import ADDRESS
from tests.envoy.cast import LONG, headers_of, say
from tests.mesh.mesh import Mesh, Workload
from tests.mesh.story import TLS, MeshStage, Town, beyond_edge

from limpet_lab.sim.sellers import Sellers
from limpet_operator.mesh.gateway import EgressGateway, MeshGateway
from limpet_operator.mesh.istio_egress import egress_objects
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

NAME: Final = "istio-egressgateway"
LABEL: Final = ("istio", "egressgateway")
PORTS: Final[tuple[dict[str, Any], ...]] = (
    {"name": "http2", "port": 80, "targetPort": 8080},
    {"name": "https", "port": 443, "targetPort": 8443},
)
"""As Istio's chart has them."""
CLOSED: Final = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "Sidecar",
    "metadata": {"name": "default"},
    "spec": {"outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"}, "egress": [{"hosts": ["*/*"]}]},
}
"""From a namespace with it nobody reaches what the mesh does not know."""
TURNS: Final = [say(LONG, "system"), say("Through the edge")]


@dataclass(frozen=True, slots=True)
class Edge:
    """The egress gateway of a mesh."""

    pod: Workload
    gateway: MeshGateway


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def edge(mesh: Mesh, town: Town) -> AsyncIterator[Edge]:
    """Beside the town, whose gateway may reach nothing any more that the mesh does not know."""
    namespace = await mesh.namespace("istio-edge")
    await mesh.apply(CLOSED, namespace=town.pod.namespace)
    async with mesh.workload(NAME, namespace, at_edge=True, labels=dict([LABEL])) as pod:
        await mesh.service(NAME, namespace, *PORTS, to=[pod])
        for seller in ("a", TLS):
            mesh.name(beyond_edge(seller), ADDRESS)
        yield Edge(pod, MeshGateway(town.pod.namespace, egress=EgressGateway(NAME, namespace, LABEL)))
    await mesh.delete(CLOSED, namespace=town.pod.namespace)


@pytest_asyncio.fixture(loop_scope="session")
async def stage(numbers: Iterator[int], sellers: Sellers, town: Town, parser: Parser) -> AsyncIterator[MeshStage]:
    for seller in sellers:
        await seller.reset()
    async with MeshStage(next(numbers), sellers, town, parser, f"http://{town.host}/v1") as ready:
        yield ready


@pytest.mark.parametrize("seller", ["a", TLS], ids=["http", "tls"])
async def test_a_cold_and_a_cached_turn_leave_the_mesh_at_its_edge(stage: MeshStage, edge: Edge, seller: str) -> None:
    mesh, host, port = stage.town.mesh, beyond_edge(seller), stage.sellers[seller].port
    specs: Mapping[str, Mapping[str, Any]] = {seller: {"url": stage.sellers[seller].base_url.replace(ADDRESS, host)}}
    providers = [each.spec for each in stage.planned(stage.objects([seller], specs, {}), {}).providers]
    written = egress_objects(providers, [], edge.gateway)
    assert written.notes == ()
    bodies = [each.body() for each in written.objects]
    applied = [each for each in written.objects if each.step == 1]
    await mesh.apply(*(each.body() for each in applied))
    try:
        (at_edge,) = (each.name for each in written.objects if each.kind == "Gateway")
        # Routes name the object that they are of; of a listener for TLS it is enough that it is there.
        await edge.pod.envoy.knows(f"virtual-service/{at_edge}" if seller == "a" else '"0.0.0.0_8443"')
        await mesh.apply(*bodies)
        applied = list(written.objects)
        await stage.town.pod.envoy.knows(f"outbound|{80 if seller == 'a' else 443}||{edge.gateway.egress_host}")
        await stage.serve(seller, specs=specs)
        first = await stage.ask(TURNS)
        await stage.settle()
        second = await stage.ask([*TURNS, say(first.text, "assistant"), say("And then?")])
        assert (first.decision, second.decision) == ("first.scored", "sticky.hit")
        assert second.usage.prompt_cache_hit_tokens > 0
        heard = [headers_of(arrival) for arrival in await stage.arrivals(seller)]
        assert len(heard) == 2
        assert all(f"key-of-{seller}" in str(each) for each in heard)
        assert not [name for each in heard for name in each if name.startswith(("x-envoy", "x-forwarded"))]
        assert await edge.pod.envoy.connections(f"outbound|{port}||{host}") > 0
        assert await stage.town.pod.envoy.connections(f"outbound|{port}||{host}") == 0
    finally:
        await mesh.delete(*(each.body() for each in applied))
