"""`python -m limpet_operator` where something is in its way: one line that says what to do, and status 1."""

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

KUBECONFIG = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "test",
    "clusters": [{"name": "test", "cluster": {"server": "http://127.0.0.1:9"}}],
    "users": [{"name": "test", "user": {"token": "t"}}],
    "contexts": [{"name": "test", "context": {"cluster": "test", "user": "test"}}],
}


@pytest.fixture
def kubeconfig(tmp_path: Path) -> Path:
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(KUBECONFIG))
    return path


def started(*flags: str, home: Path) -> tuple[int, list[dict[str, str]]]:
    """Its exit status and what it logged."""
    command = [sys.executable, "-m", "limpet_operator", "--all-namespaces", "--http", "127.0.0.1:0", *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env={"HOME": str(home)})
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def test_no_cluster_is_known(tmp_path: Path) -> None:
    status, entries = started(home=tmp_path)
    assert (status, entries[-1]["level"]) == (1, "error")
    assert "name a file with --kubeconfig or KUBECONFIG" in entries[-1]["message"]


def test_it_does_not_listen_for_others_without_certificates(kubeconfig: Path, tmp_path: Path) -> None:
    status, entries = started("--kubeconfig", str(kubeconfig), "--listen", "0.0.0.0:0", home=tmp_path)
    assert status == 1
    assert entries[-1]["message"].startswith("not listening on 0.0.0.0:0 without TLS")


def test_an_address_in_use(kubeconfig: Path, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        for flag in ("--listen", "--http"):
            status, entries = started("--kubeconfig", str(kubeconfig), flag, address, home=tmp_path)
            assert status == 1
            assert str(taken.getsockname()[1]) in entries[-1]["message"], flag
            assert entries[-1]["level"] == "error"
