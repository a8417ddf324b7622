"""The README's quick start on Kubernetes does, typed as it stands there, what it says."""

import asyncio
import os
import re
import shlex
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pytest
import pytest_asyncio
from tests.cluster.images import local_images
from tests.cluster.kubelet import Kubelet
from tests.cluster.pods import Network
from tests.cluster.portforward.node import forwarding
from tests.cluster.world import ADDRESS

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.assets import Assets
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.sellers import Seller, Sellers

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROOT: Final = Path(__file__).parents[3]
SECTION: Final = "On Kubernetes"
NAMESPACE: Final = "limpet"
VENDOR: Final = "https://api.deepseek.com/v1"
"""The only thing that is replaced in what the README says: no test reaches the vendor, so a simulated one stands there.

From the README's registry nothing is pulled: images.py says what stands for an image, by the last part of its name.
"""
KEY: Final = "key-of-the-quick-start"
WAY_IN: Final = "Forwarding from 127.0.0.1:8080"
PATIENCE_S: Final = 150.0

_FENCE: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_AGE: Final = re.compile(r"\b\d+[smhd](\d+[smh])?\b")


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, empty for what the commands before it print, and its text."""

    language: str
    text: str


def blocks(document: str, section: str) -> list[Block]:
    """Those of a section, in order."""
    _, _, rest = document.partition(f"\n## {section}\n")
    return [Block(*found) for found in _FENCE.findall(rest.partition("\n## ")[0])]


def words(lines: Sequence[str]) -> list[list[str]]:
    """What a table says, whatever the width of its columns and however old things are."""
    return [_AGE.sub("AGE", line).split() for line in lines]


class Terminal:
    """One bash in which blocks are typed one after the other; what they leave in the background runs on."""

    def __init__(self, process: asyncio.subprocess.Process, report: Callable[[], str]) -> None:
        self._process = process
        self._report = report
        self._said = ""

    @classmethod
    @asynccontextmanager
    async def opened(cls, environment: Mapping[str, str], report: Callable[[], str]) -> AsyncIterator["Terminal"]:
        """Until the end of the block; then all that runs in it is ended. `report` says more of a command that fails."""
        process = await asyncio.create_subprocess_exec(
            *("bash", "-eu", "-o", "pipefail"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            cwd=ROOT,
            env=dict(environment),
        )
        try:
            yield cls(process, report)
        finally:
            assert process.stdin is not None
            if process.returncode is None:
                process.stdin.write(b"kill $(jobs -p) 2>/dev/null; exit\n")
            process.stdin.close()
            await process.wait()

    async def type(self, text: str) -> str:
        """Type it; what it printed."""
        assert self._process.stdin is not None
        before = len(self._said)
        self._process.stdin.write(f"{text}\necho the end of it\n".encode())
        await self.until("the end of it\n", before)
        return self._said[before:].removesuffix("the end of it\n")

    async def until(self, words: str, since: int = 0) -> None:
        """Return when it has printed this. Raises AssertionError if a command failed or it takes too long."""
        assert self._process.stdout is not None
        try:
            async with asyncio.timeout(PATIENCE_S):
                while words not in self._said[since:]:
                    more = await self._process.stdout.read(65536)
                    if not more:
                        raise AssertionError(f"a command failed:\n{self._said}\n{self._report()}")
                    self._said += more.decode()
        except TimeoutError:
            raise AssertionError(f"waited {PATIENCE_S:g} s in vain:\n{self._said}\n{self._report()}") from None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def vendor() -> AsyncIterator[Seller]:
    """Who sells as DeepSeek does."""
    config = SellerConfig(
        name="deepseek",
        listen=f"{ADDRESS}:0",
        models=(SellerModel("deepseek-v4-flash"),),
        api_keys=(KEY,),
        record=True,
    )
    async with Sellers.start([config]) as sellers:
        yield sellers["deepseek"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def terminal(assets: Assets, network: Network, directory: Path) -> AsyncIterator[Terminal]:
    """Of somebody with a vendor's key, Helm, kubectl, the SDK, and a cluster that has never heard of Limpet."""
    for each in ("apiserver", "pods", "bin", "home"):
        (directory / each).mkdir()
    helm = directory / "bin" / "helm"
    helm.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m tests.cluster.e2e.helm "$@"\n')
    helm.chmod(0o755)
    with (
        ApiServer.running(assets, directory / "apiserver", advertise=ADDRESS) as server,
        forwarding(server, directory, os.environ),
    ):
        environment = {
            "PATH": f"{helm.parent}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(directory / "home"),
            "KUBECONFIG": str(server.kubeconfig),
            "DEEPSEEK_API_KEY": KEY,
        }
        async with (
            Kubelet.start(server, NAMESPACE, directory / "pods", network, local_images()) as kubelet,
            Terminal.opened(environment, kubelet.report) as terminal,
        ):
            yield terminal
        server.kill()  # an orderly end would wait for connections of pods that no longer are


async def test_the_quick_start_does_what_it_says(terminal: Terminal, vendor: Seller) -> None:
    text = (ROOT / "README.md").read_text()
    found = blocks(text, SECTION)
    assert [each.language for each in found] == ["bash", "", "bash", "python"]
    install, listed, way_in, ask = (each.text for each in found)
    assert VENDOR in install

    printed = await terminal.type(install.replace(VENDOR, vendor.base_url))
    expected = words(listed.splitlines())
    assert words(printed.splitlines()[-len(expected) :]) == expected, printed

    await terminal.type(way_in)
    await terminal.until(WAY_IN)
    answer = await terminal.type(f"python - <<'THE END OF IT'\n{ask}THE END OF IT\n")
    assert answer.strip(), "the SDK call printed nothing"
    asked = [dict(each.headers) for each in await vendor.requests()]
    assert [each["authorization"] for each in asked] == [f"Bearer {KEY}"]
