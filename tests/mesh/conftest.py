"""What the stories of a mesh share: one API server and one istiod for all of them."""

import os
from collections.abc import Iterator

import pytest
from tests.cluster.pods import Network
from tests.cluster.services import Dns
from tests.cluster.world import ADDRESS, inside
from tests.mesh.mesh import Mesh

from limpet_lab.kubernetes import assets, mesh_assets
from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.istiod import Istiod

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
def mesh(apiserver: ApiServer, istiod: Istiod, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    """The mesh, and the name server of this world."""
    running = Mesh(apiserver, istiod, Network(), tmp_path_factory.mktemp("mesh"))
    dns = Dns(ADDRESS, running.resolve)
    try:
        yield running
    finally:
        dns.close()
