"""What keeps a worker from listening is reported by the name of its flag, not as a bug."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest
from tests.waiting import TIMEOUT_S

from limpet_extproc.process.settings import SERVERS

LONG = "x" * 120


def _run(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "limpet_extproc", "--control-plane=unix:/nowhere.sock", "--node=n", *flags]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.mark.parametrize("server", SERVERS)
@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--socket={}/none/x.sock"], "--socket {}/none/x.sock: cannot listen there: No such file or directory"),
        ([f"--socket={{}}/{LONG}"], f"--socket {{}}/{LONG}: cannot listen there: AF_UNIX path too long"),
        (["--socket={}"], "--socket {}: cannot listen there: Is a directory"),
        (
            ["--socket={}/x.sock", "--status-socket={}/none/x.sock"],
            "--status-socket {}/none/x.sock: cannot listen there: No such file or directory",
        ),
    ],
)
def test_a_path_that_cannot_be_a_socket_is_named(server: str, tmp_path: Path, flags: list[str], words: str) -> None:
    ended = _run(f"--server={server}", *(flag.format(tmp_path) for flag in flags))
    assert (ended.returncode, ended.stderr) == (2, f"limpet-extproc: {words.format(tmp_path)}\n")


def test_a_metrics_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        ended = _run(f"--socket={tmp_path}/x.sock", f"--metrics-port={port}")
    words = f"limpet-extproc: --metrics-port {port}: cannot listen there: Address already in use\n"
    assert (ended.returncode, ended.stderr) == (2, words)
