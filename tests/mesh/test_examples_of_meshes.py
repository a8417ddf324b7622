"""The examples of meshes: taken by the real API server with each mesh's own CRDs, and no older than the commands."""

import os
from pathlib import Path

import pytest
import yaml

from limpet_lab.kubernetes import mesh_assets
from limpet_lab.kubernetes.apiserver import ApiServer

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = [EXAMPLES / name for name in ("istio/egress.yaml", "istio/security.yaml")]
FILES += [EXAMPLES / "envoy-gateway" / name for name in ("route.yaml", "header-mode.yaml")]


@pytest.fixture(scope="module")
def with_all_crds(apiserver: ApiServer) -> ApiServer:
    """The API server, which knows the kinds of Istio, of the Gateway API and of Envoy Gateway."""
    istio, envoy_gateway = mesh_assets.find(os.environ), mesh_assets.find_envoy_gateway(os.environ)
    for crds in (istio.istio_crds, envoy_gateway.crds):
        apiserver.kubectl("apply", "--server-side", "--filename", str(crds)).ok()
    apiserver.wait_established()
    apiserver.kubectl("create", "namespace", "limpet")
    return apiserver


@pytest.mark.parametrize("file", FILES, ids=[f"{file.parent.name}/{file.name}" for file in FILES])
def test_the_api_server_takes_it(with_all_crds: ApiServer, file: Path) -> None:
    with_all_crds.kubectl("create", "namespace", "limpet")
    output = with_all_crds.kubectl("apply", "--server-side", "--dry-run=server", "--filename", str(file)).ok()
    assert output.count("(server dry run)") == len([each for each in yaml.safe_load_all(file.read_text()) if each])


def test_no_file_goes_untested() -> None:
    folders = (EXAMPLES / name for name in ("istio", "envoy-gateway"))
    assert {file for folder in folders for file in folder.glob("*.yaml")} == set(FILES)
