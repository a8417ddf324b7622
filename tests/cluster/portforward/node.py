"""The node that pods run on, as the API server knows it: where `kubectl port-forward` finds the way into a pod."""

import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import trustme
from tests.cluster.kubelet import NODE_NAME
from tests.cluster.portforward.build import PORT_FORWARDER
from tests.cluster.world import ADDRESS

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.program import Program
from limpet_operator.laptop.machine import free_port

_PATIENCE_S: Final = 20.0


@contextmanager
def forwarding(server: ApiServer, directory: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """Forwards ports of pods until the end of the block. Raises AssetsMissingError if the program is missing."""
    port = free_port()
    issued = trustme.CA().issue_cert(ADDRESS)  # the API server does not verify nodes by default
    certificate, key = directory / "node.crt", directory / "node.key"
    issued.cert_chain_pems[0].write_to_path(certificate)
    issued.private_key_pem.write_to_path(key)
    flags = ("-listen", f"{ADDRESS}:{port}", "-certificate", str(certificate), "-key", str(key))
    program = Program(
        "port-forwarder", (str(PORT_FORWARDER.find(environment)), *flags), directory / "port-forwarder.log"
    )
    program.start()
    try:
        _wait(program, port)
        _register(server, port)
        yield
    finally:
        program.stop()


def _wait(program: Program, port: int) -> None:
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            socket.create_connection((ADDRESS, port), 1).close()
        except OSError:
            assert program.alive(), program.log_tail()
            assert time.monotonic() < deadline, f"the port forwarder does not listen\n{program.log_tail()}"
            time.sleep(0.05)
        else:
            return


def _register(server: ApiServer, port: int) -> None:
    node = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": NODE_NAME},
        "status": {
            "addresses": [{"type": "InternalIP", "address": ADDRESS}],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
        },
    }
    answer = server.request("POST", "/api/v1/nodes", content=node)
    assert answer.status_code == 201, answer.text
