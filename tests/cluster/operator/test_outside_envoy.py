"""`limpet render --for envoy`: what it prints starts an Envoy of somebody's own, which the operator serves.

As in examples/envoy: workers and Envoy beside each other, the operator elsewhere, with certificates between them.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator
from tests.waiting import until

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.program import Program
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.machine import envoy_command, free_port

pytestmark = pytest.mark.envoy

MODEL = "flash"
LONG = "You answer short questions about harbours, tides and lighthouses. " * 200


@pytest.fixture
def certificates(tmp_path: Path) -> tuple[Path, Path]:
    """Folders with the operator's and with the gateway's, of one authority."""
    authority = trustme.CA()
    found = []
    for name in ("localhost", "gateway.example"):
        folder = tmp_path / name
        folder.mkdir()
        leaf = authority.issue_cert(name)
        leaf.cert_chain_pems[0].write_to_path(folder / "tls.crt")
        leaf.private_key_pem.write_to_path(folder / "tls.key")
        authority.cert_pem.write_to_path(folder / "ca.crt")
        found.append(folder)
    return found[0], found[1]


@contextmanager
def running(name: str, command: list[str], directory: Path) -> Iterator[Program]:
    program = Program(name, command, directory / f"{name}.log")
    program.start()
    try:
        yield program
    finally:
        program.stop()


async def printed(directory: Path, *flags: str) -> Path:
    """A file with what the command prints."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "limpet_operator.cli", "render", "--for", "envoy", *flags),
        stdout=asyncio.subprocess.PIPE,
    )
    text, _ = await process.communicate()
    assert process.returncode == 0
    file = directory / "envoy.yaml"
    file.write_bytes(text)
    return file


async def ask(base_url: str) -> tuple[int, str, dict[str, Any]]:
    """One turn of a conversation: the status, how its provider was chosen, and the answer."""
    messages = [{"role": "system", "content": LONG}, {"role": "user", "content": "Which tide is it?"}]
    async with httpx.AsyncClient(timeout=30) as client:
        answer = await client.post(f"{base_url}/chat/completions", json={"model": MODEL, "messages": messages})
    return answer.status_code, answer.headers.get("x-limpet-decision", ""), answer.json()


@pytest.mark.parametrize("tls", [True, False], ids=["certificates", "one machine"])
async def test_the_printed_bootstrap_serves_as_it_stands(
    apiserver: ApiServer, namespace: str, tmp_path: Path, certificates: tuple[Path, Path], tls: bool
) -> None:
    of_operator, of_gateway = certificates
    xds, port, workers = free_port(), free_port(), tmp_path / "workers"
    workers.mkdir()
    listen = f"127.0.0.1:{xds}"
    flags = [
        *("--namespace", namespace, "--gateway-host", "127.0.0.1", "--gateway-port", str(port)),
        *("--extproc-dir", str(workers)),
    ]
    at_worker = [f"--socket-dir={workers}", "--workers=1", f"--http=127.0.0.1:{free_port()}", "--node=own"]
    where = ["--operator", f"localhost:{xds}", "--node", "own"]
    if tls:
        flags += ["--tls-dir", str(of_operator), "--gateway-name", "gateway.example"]
        where += ["--tls-dir", str(of_gateway)]
        at_worker += [f"--tls-dir={of_gateway}"]
    file = await printed(tmp_path, *where)
    seller = SellerConfig("a", (SellerModel(MODEL),))
    async with Sellers.start([seller]) as sellers:
        url = sellers["a"].base_url
        apiserver.apply(provider("a", url=url), secret("a"), namespace=namespace).ok()
        worker = [sys.executable, "-m", "limpet_extproc", *at_worker, f"--control-plane=localhost:{xds}"]
        with (
            Operator.running(apiserver, tmp_path / "operator", *flags, listen=listen) as operator,
            running("worker", worker, tmp_path),
            running("envoy", envoy_command(file, "--concurrency", "1"), tmp_path) as envoy,
        ):
            await operator.ready()
            base_url = f"http://127.0.0.1:{port}/v1"
            said: list[Any] = []

            async def decides() -> bool:
                assert envoy.alive(), envoy.log_tail()
                try:
                    said.append(await ask(base_url))
                except httpx.TransportError as error:
                    said.append(error)
                    return False
                return said[-1][:2] == (200, "first.scored")

            try:
                await until(decides, "a first turn")
            except AssertionError as error:
                raise AssertionError(f"{error}; last: {said[-1]}") from error
            status, decision, answer = await ask(base_url)
            assert (status, decision.partition(".")[0]) == (200, "sticky"), answer
