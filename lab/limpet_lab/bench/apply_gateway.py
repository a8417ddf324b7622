"""What `limpet bench apply` measures: the operator, started as the chart does, with an Envoy and an ext_proc worker."""

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import psutil
from prometheus_client.parser import text_string_to_metric_families

from limpet_lab.bench.apply_cluster import Cluster, NotThereInTimeError
from limpet_lab.bench.changes import ask
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.local import EXTPROC_ENVIRONMENT
from limpet_operator.laptop.machine import envoy_command, free_port
from limpet_operator.publish.bootstrap import bootstrap
from limpet_operator.publish.overload import HEAP_BYTES

_NODE: Final = "limpet-bench"
_READY_S: Final = 300.0
_AT_ONCE: Final = 8
_MB: Final = 1e6


@dataclass(frozen=True, slots=True)
class RunningGateway:
    """The running programs. `http` is connected to the operator, `clients` to Envoy."""

    children: Children
    http: aiohttp.ClientSession
    clients: aiohttp.ClientSession

    async def ready(self, models: Sequence[str]) -> None:
        """Return when the operator is ready and each of these models has been answered.

        Raises NotThereInTimeError and ChildDied.
        """
        try:
            await self.children.until(self._serving(models), _READY_S)
        except TimeoutError:
            raise NotThereInTimeError(f"the gateway did not serve all providers within {_READY_S:.0f} s") from None

    async def counted(self, name: str) -> float:
        """The sum of one of the operator's metrics over all its labels."""
        async with self.http.get("/metrics") as answer:
            text = await answer.text()
        return sum(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name
        )

    def operator_rss_mb(self) -> float:
        """Resident memory of the operator now, in 10⁶ bytes."""
        rss: int = psutil.Process(self.children.pid("operator")).memory_info().rss
        return rss / _MB

    async def _serving(self, models: Sequence[str]) -> None:
        while not await self._operator_ready():  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.05)
        remaining = iter(models)

        async def one_after_another() -> None:
            for model in remaining:
                while not await self._served(model):  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

        async with asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(one_after_another())

    async def _operator_ready(self) -> bool:
        try:
            async with self.http.get("/readyz") as answer:
                return answer.status == 200
        except aiohttp.ClientConnectionError:
            return False

    async def _served(self, model: str) -> bool:
        try:
            status, _ = await ask(self.clients, model)
        except aiohttp.ClientConnectionError:
            return False
        return status == 200


@asynccontextmanager
async def running(cluster: Cluster, folder: Path) -> AsyncIterator[RunningGateway]:
    """All started, nothing waited for; ended with the block. `folder` takes sockets and logs.

    Raises CannotStart if Envoy is not installed.
    """
    control_plane, http, port = (f"127.0.0.1:{free_port()}" for _ in range(3))
    children = Children(folder)
    envoy_file = folder / "envoy.json"
    host, _, number = control_plane.rpartition(":")
    address = {"socket_address": {"address": host, "port_value": int(number)}}
    admin = {"pipe": {"path": str(folder / "admin.sock")}}
    envoy_file.write_text(json.dumps(bootstrap(_NODE, address, admin, HEAP_BYTES)))
    commands = {
        "operator": [
            *(sys.executable, "-m", "limpet_operator", "--kubeconfig", str(cluster.kubeconfig)),
            *("--namespace", cluster.namespace, "--lease-namespace", cluster.namespace),
            *("--lease-name", "limpet-operator", "--identity", _NODE, "--listen", control_plane, "--http", http),
            *("--gateway-port", port.rpartition(":")[2], "--extproc-dir", str(folder)),
        ],
        "ext_proc": [
            *(sys.executable, "-m", "limpet_extproc", "--socket-dir", str(folder), "--workers", "1"),
            *("--control-plane", control_plane, "--node", _NODE),
        ],
        "envoy": envoy_command(envoy_file),
    }
    try:
        for name, command in commands.items():
            await children.start(name, command, env={**EXTPROC_ENVIRONMENT, **os.environ})
        async with (
            aiohttp.ClientSession(f"http://{http}") as operator,
            aiohttp.ClientSession(f"http://{port}/v1/") as clients,
        ):
            yield RunningGateway(children, operator, clients)
    finally:
        await children.stop()
