"""Builds the Go programs that tests need beside the tests: `python -m tests.cluster.programs COMMAND…`.

Building takes minutes of computing, and tests mostly wait. So the build takes what the command leaves, and the tests
that need a program wait for it where they look for it; the command is best to have them last.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Final

from tests.cluster.portforward import build as port_forwarder

from limpet_lab.kubernetes.assets import CLUSTER, AssetsMissingError, provide_all
from limpet_lab.kubernetes.mesh_assets import ENVOY_GATEWAY, ISTIO

_BUILD: Final = "--build"
_BUILDER: Final = (sys.executable, "-m", "tests.cluster.programs", _BUILD)
_NICENESS: Final = 15


def run_beside(command: Sequence[str], builder: Sequence[str] = _BUILDER) -> int:
    """Run the command once the builder has begun, and wait for both; the first status that is not 0, or 0."""
    with subprocess.Popen(builder, stdout=subprocess.PIPE) as building:
        assert building.stdout is not None
        building.stdout.readline()
        status = subprocess.run(command, check=False).returncode
    return status or building.returncode


def _build() -> None:
    """Build what is missing. Says so on stdout once who looks for it would wait."""
    os.nice(_NICENESS)
    given = bool(os.environ.get("KUBEBUILDER_ASSETS"))
    # Those first that are first needed.
    sources = (*(() if given else (CLUSTER,)), port_forwarder.SOURCE, ENVOY_GATEWAY, ISTIO)
    try:
        provide_all(sources, dict(os.environ), lambda: print("begun", flush=True))
    except AssetsMissingError as missing:
        sys.exit(str(missing))


if __name__ == "__main__":
    if sys.argv[1:] == [_BUILD]:
        _build()
    else:
        sys.exit(run_beside(sys.argv[1:]))
