"""Every file under examples/ that holds objects of a cluster is taken by the API server as it is.

Those of meshes need their CRDs; tests/mesh has them.
"""

from pathlib import Path

import pytest
import yaml

from limpet_lab.kubernetes.apiserver import ApiServer

EXAMPLES = Path(__file__).parents[3] / "examples"


def is_for_a_cluster(file: Path) -> bool:
    documents = [each for each in yaml.safe_load_all(file.read_text()) if each]
    return all(isinstance(each, dict) and "apiVersion" in each for each in documents)


OF_MESHES = ("istio", "envoy-gateway")
FILES = [
    file for file in sorted(EXAMPLES.rglob("*.yaml")) if file.parent.name not in OF_MESHES and is_for_a_cluster(file)
]


def test_there_are_examples() -> None:
    assert FILES != []


@pytest.mark.parametrize("file", FILES, ids=[str(file.relative_to(EXAMPLES)) for file in FILES])
def test_it_is_taken(apiserver: ApiServer, namespace: str, file: Path) -> None:
    text = file.read_text()
    named = {each["metadata"].get("namespace") for each in yaml.safe_load_all(text) if each} - {None}
    for each in sorted(named):
        apiserver.kubectl("create", "namespace", each)
    where = () if named else ("--namespace", namespace)
    output = apiserver.kubectl("apply", "--dry-run=server", *where, "--filename", str(file)).ok()
    assert output.count("(server dry run)") == len([each for each in yaml.safe_load_all(text) if each])
