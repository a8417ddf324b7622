"""Builds what lets `kubectl port-forward` into the tests' pods: `python -m tests.cluster.portforward.build`."""

from pathlib import Path
from typing import Final

from tests.go_program import GoProgram

from limpet_lab.kubernetes.assets import Source

PORT_FORWARDER: Final = GoProgram(
    Source(
        Path(__file__).parent,
        {"port-forwarder": (".", "-s -w")},
        "Building what forwards ports into the tests' pods: some seconds, once on this machine.",
    ),
    "tests.cluster.portforward.build",
)

if __name__ == "__main__":
    PORT_FORWARDER.build()
