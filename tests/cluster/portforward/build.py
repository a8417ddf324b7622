"""Builds what lets `kubectl port-forward` into the tests' pods: `python -m tests.cluster.portforward.build`.

It takes seconds, once on this machine, and needs the network, so it comes before the tests go where there is none.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from limpet_lab.kubernetes.assets import AssetsMissingError, Source

PROGRAM: Final = "port-forwarder"
SOURCE: Final = Source(
    Path(__file__).parent,
    {PROGRAM: (".", "-s -w")},
    "Building what forwards ports into the tests' pods: some seconds, once on this machine.",
)


def find(environment: Mapping[str, str]) -> Path:
    """The program, without building it. Raises AssetsMissingError if it is not there."""
    program = SOURCE.home(environment) / PROGRAM
    if not os.access(program, os.X_OK):
        raise AssetsMissingError(f"{program}: not built yet; run: python -m tests.cluster.portforward.build")
    return program


if __name__ == "__main__":
    try:
        SOURCE.provide(dict(os.environ))
    except AssetsMissingError as none:
        sys.exit(str(none))
