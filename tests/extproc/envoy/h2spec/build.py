"""Builds h2spec, which tests servers of HTTP/2: `python -m tests.extproc.envoy.h2spec.build`.

It takes half a minute, once on this machine, and needs the network, so it comes before the tests go where there is
none.
"""

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from limpet_lab.kubernetes.assets import AssetsMissingError, Source

PROGRAM: Final = "h2spec"
SOURCE: Final = Source(
    Path(__file__).parent,
    {PROGRAM: ("github.com/summerwind/h2spec/cmd/h2spec", "-s -w")},
    "Building h2spec: half a minute on two cores, once on this machine.",
)


def find(environment: Mapping[str, str]) -> Path:
    """The program, without building it. Raises AssetsMissingError if it is not there."""
    program = SOURCE.home(environment) / PROGRAM
    if not os.access(program, os.X_OK):
        raise AssetsMissingError(f"{program}: not built yet; run: python -m tests.extproc.envoy.h2spec.build")
    return program


if __name__ == "__main__":
    try:
        SOURCE.provide(dict(os.environ))
    except AssetsMissingError as none:
        sys.exit(str(none))
