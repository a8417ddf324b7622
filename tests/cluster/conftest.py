"""What the cluster's tests share: the world they live in, one API server for all, and private ones to break."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from tests.cluster.pods import Network
from tests.cluster.world import ADDRESS, COMMAND, inside

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.assets import Assets, find

HERE = Path(__file__).parent


class Outside(pytest.Item):
    """Stands for all tests of this folder where they can't run, and fails once for all of them."""

    def runtest(self) -> None:
        pytest.fail(f"the tests in tests/cluster need a world of their own; run:\n  {COMMAND}", pytrace=False)

    def reportinfo(self) -> tuple[Path, int, str]:
        return HERE, 0, "the cluster's tests"


def pytest_collection_modifyitems(session: pytest.Session, items: list[pytest.Item]) -> None:
    elsewhere = [item for item in items if HERE not in item.path.parents]
    if len(elsewhere) < len(items) and not inside():
        items[:] = [*elsewhere, Outside.from_parent(session, name="tests/cluster outside of a world")]


@pytest.fixture(scope="session")
def assets() -> Assets:
    """kube-apiserver and etcd."""
    return find(os.environ)


@pytest.fixture(scope="session")
def network() -> Network:
    """Where pods get their addresses."""
    return Network()


@pytest.fixture(scope="session")
def apiserver(assets: Assets, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One for all tests, with the CRDs; who breaks things takes a private one."""
    with ApiServer.running(assets, tmp_path_factory.mktemp("apiserver"), advertise=ADDRESS) as server:
        server.install_crds()
        yield server


@pytest.fixture
def namespace(apiserver: ApiServer) -> str:
    """A namespace of the test's own."""
    return apiserver.namespace()


@pytest.fixture
def private_apiserver(assets: Assets, tmp_path: Path) -> Callable[[], AbstractContextManager[ApiServer]]:
    """A server (without CRDs) that the test may break, for a `with` block around it."""
    directory = tmp_path / "apiserver"
    directory.mkdir()
    return lambda: ApiServer.running(assets, directory, advertise=ADDRESS)
