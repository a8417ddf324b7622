"""The place where these tests happen."""

from pathlib import Path

import pytest
from tests.cluster.status.stage import Stage

from limpet_lab.kubernetes.apiserver import ApiServer


@pytest.fixture
def stage(apiserver: ApiServer, namespace: str, tmp_path: Path) -> Stage:
    return Stage(apiserver, namespace, tmp_path)
