"""What the stories of a mesh share: one API server and one istiod for all of them."""

import os
from collections.abc import AsyncIterator, Iterator
from itertools import count

import pytest
import pytest_asyncio
from tests.cluster.pods import Network
from tests.cluster.services import Dns
from tests.cluster.world import ADDRESS, inside
from tests.mesh.egress import Egress
from tests.mesh.envoy_gateway import EnvoyGateway
from tests.mesh.mesh import Mesh
from tests.mesh.story import Town, far_sellers

from limpet_lab.kubernetes import assets, mesh_assets
from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.istiod import Istiod
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

_FIRST_POD = 10_000
"""Other tests of the same process number theirs from 0."""
_FIRST_OF_ENVOY_GATEWAY = 20_000
COMMAND = "python -m tests.cluster.world python -m pytest tests/mesh"


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One for all stories, with Limpet's CRDs."""
    if not inside():
        pytest.fail(f"the tests in tests/mesh need a world of their own; run:\n  {COMMAND}", pytrace=False)
    with ApiServer.running(assets.find(os.environ), tmp_path_factory.mktemp("k8s"), advertise=ADDRESS) as server:
        server.install_crds()
        yield server


@pytest.fixture(scope="session")
def istiod(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Istiod]:
    """One for all stories, with Istio's CRDs."""
    found = mesh_assets.find(os.environ)
    with Istiod.running(found, apiserver, tmp_path_factory.mktemp("istiod"), advertise=ADDRESS) as running:
        yield running


@pytest.fixture(scope="session")
def mesh(apiserver: ApiServer, istiod: Istiod, tmp_path_factory: pytest.TempPathFactory) -> Mesh:
    """The mesh of all stories."""
    return Mesh(apiserver, istiod, Network(count(_FIRST_POD)), tmp_path_factory.mktemp("mesh"))


@pytest.fixture(scope="module", autouse=True)
def name_server(request: pytest.FixtureRequest) -> Iterator[None]:
    """Answers for the mesh's names, in modules that have to do with it: other tests have one of their own."""
    if not any("mesh" in item.fixturenames for item in _tests_of(request)):
        yield
        return
    dns = Dns(ADDRESS, request.getfixturevalue("mesh").resolve)
    try:
        yield
    finally:
        dns.close()


def _tests_of(request: pytest.FixtureRequest) -> list[pytest.Function]:
    """Those of the module that asks."""
    return [each for each in request.session.items if isinstance(each, pytest.Function) and each.path == request.path]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def envoy_gateway(apiserver: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EnvoyGateway]:
    """One for all stories behind it, which are in one module: while it runs, its name server takes the mesh's place."""
    found, directory = mesh_assets.find_envoy_gateway(os.environ), tmp_path_factory.mktemp("envoy_gateway")
    async with EnvoyGateway.running(found, apiserver, Network(count(_FIRST_OF_ENVOY_GATEWAY)), directory) as running:
        yield running


@pytest.fixture(scope="session")
def parser() -> Parser:
    return Parser.load()


@pytest.fixture(scope="session")
def numbers() -> Iterator[int]:
    return count(1)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def sellers() -> AsyncIterator[Sellers]:
    async with Sellers.start(far_sellers()) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def town(mesh: Mesh) -> AsyncIterator[Town]:
    """An application and a gateway, with their sidecars."""
    async with Town.built(mesh) as built:
        yield built
        await built.untroubled()


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def egress(town: Town, parser: Parser) -> Egress:
    """What brings applications' requests for hosts of providers to the gateway."""
    return Egress(town, parser)
