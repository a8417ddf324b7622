"""Builds h2spec, which tests servers of HTTP/2: `python -m tests.extproc.envoy.h2spec.build`."""

from pathlib import Path
from typing import Final

from tests.go_program import GoProgram

from limpet_lab.kubernetes.assets import Source

H2SPEC: Final = GoProgram(
    Source(
        Path(__file__).parent,
        {"h2spec": ("github.com/summerwind/h2spec/cmd/h2spec", "-s -w")},
        "Building h2spec: half a minute on two cores, once on this machine.",
    ),
    "tests.extproc.envoy.h2spec.build",
)

if __name__ == "__main__":
    H2SPEC.build()
