"""`limpet bench mesh-apply`: how soon a sidecar is told of a Provider that was applied, with hundreds of them.

A real API server, a real istiod with its own debouncing, and the operator with the flags of the chart. The sidecar is
a subscriber of istiod's that reads what an Envoy would get, so the milliseconds in which an Envoy takes it up are not
included. Each round applies a Provider with a host of its own and deletes it again.
"""

import asyncio
import json
import os
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from limpet_lab.bench.changes import percentiles
from limpet_lab.bench.mesh_subscriber import RoutesToGateway
from limpet_lab.demo.json_file import JsonFile
from limpet_lab.kubernetes import mesh_assets
from limpet_lab.kubernetes.apiserver import ApiServer, UnexpectedResultError
from limpet_lab.kubernetes.assets import AssetsMissingError, provide
from limpet_lab.kubernetes.istiod import Istiod
from limpet_lab.kubernetes.program import Program
from limpet_operator.laptop.machine import free_port
from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.resources.problem import API_VERSION
from limpet_operator.serve.tasks import beside
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import Access, KubeReader
from limpet_operator.status.kube_writer import APPLY_PATCH, KubeWriter

BAR_MS: Final = 2000.0
_LIMIT_S: Final = 120.0
_ROUTES: Final = "/apis/networking.istio.io/v1/namespaces/{}/virtualservices"


@dataclass(slots=True)
class MeshApplyTimes:
    """Milliseconds from the request to the API server on."""

    written: list[float] = field(default_factory=list)
    """Until the VirtualService is there: our part."""
    told: list[float] = field(default_factory=list)
    """Until the sidecar is told to send the host's requests to the gateway."""
    untold: list[float] = field(default_factory=list)
    """After a deletion, until it is told to do so no more."""


def mesh_apply(
    providers: Annotated[int, typer.Option(help="Providers that are there all the time.", min=1)] = 200,
    rounds: Annotated[int, typer.Option(help="Providers that are applied and deleted again.", min=1)] = 100,
    json_file: JsonFile = None,
) -> None:
    """Measure how soon a sidecar of Istio's is told of an applied Provider."""
    console = Console()
    try:
        with ExitStack() as open_:
            folder = Path(open_.enter_context(tempfile.TemporaryDirectory(prefix="limpet-bench-")))
            server = open_.enter_context(ApiServer.running(provide(os.environ), folder, bound=True))
            server.install_crds()
            found = mesh_assets.provide(os.environ)
            istiod = open_.enter_context(Istiod.running(found, server, folder, bound=True))
            times = asyncio.run(_measure(server, istiod, folder, providers, rounds))
    except (AssetsMissingError, UnexpectedResultError, ApiError, TimeoutError) as error:
        console.print(str(error) or "something did not come in time", markup=False)
        raise typer.Exit(2) from error
    figures = {name: percentiles(getattr(times, name)) for name in ("written", "told", "untold")}
    shown = Table(title=f"{providers} providers, {rounds} rounds", box=SIMPLE)
    for column in ("after it is applied", "p50 ms", "p99 ms", f"bar {BAR_MS:.0f} ms"):
        shown.add_column(column, justify="left" if column.startswith("after") else "right")
    for name, text in (("told", "a sidecar is told"), ("written", "  our part"), ("untold", "told of its deletion")):
        one = figures[name]
        bar = "" if name == "written" else "held" if one["p99_ms"] <= BAR_MS else "missed"
        shown.add_row(text, f"{one['p50_ms']:.0f}", f"{one['p99_ms']:.0f}", bar)
    console.print(shown)
    if json_file:
        json_file.write_text(json.dumps({"providers": providers, "rounds": rounds, **figures}, indent=2) + "\n")


async def _measure(server: ApiServer, istiod: Istiod, folder: Path, providers: int, rounds: int) -> MeshApplyTimes:
    namespace = await asyncio.to_thread(server.namespace, "limpet-bench")
    gateway = MeshGateway(namespace)
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": gateway.name},
        "spec": {"ports": [{"name": "http", "port": 80}]},
    }
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "app"}}
    (await asyncio.to_thread(server.apply, service, account, namespace=namespace)).ok()
    flags = ("--namespace", namespace, "--audience=istio-ca")
    token = (await asyncio.to_thread(server.kubectl, "create", "token", "app", *flags)).ok()
    api, times = KubeWriter(await Access(server.kubeconfig).configuration()), MeshApplyTimes()
    sidecar = RoutesToGateway(istiod.address, token.strip(), namespace, gateway.host)
    written = _Written()
    try:
        with _operator(server, folder, namespace):
            async with (
                await KubeReader.connect(Access(server.kubeconfig)) as reader,
                beside(sidecar.run()),
                beside(written.follow(reader, _ROUTES.format(namespace))),
            ):
                for number in range(providers):
                    await _apply(api, namespace, f"p{number:05}")
                for number in range(providers):
                    await sidecar.until(_host(f"p{number:05}"), True, _LIMIT_S)
                for number in range(rounds):
                    await _round(api, namespace, f"new{number:05}", sidecar, written, times)
    finally:
        await api.close()
    return times


async def _round(
    api: KubeWriter, namespace: str, name: str, sidecar: RoutesToGateway, written: "_Written", times: MeshApplyTimes
) -> None:
    began_s = time.perf_counter()
    await _apply(api, namespace, name)
    told_s = await sidecar.until(_host(name), True, _LIMIT_S)
    times.told.append((told_s - began_s) * 1000)
    times.written.append((written.at_s[_host(name)] - began_s) * 1000)
    began_s = time.perf_counter()
    await api.call("DELETE", f"{_providers(namespace)}/{name}")
    times.untold.append((await sidecar.until(_host(name), False, _LIMIT_S) - began_s) * 1000)


class _Written:
    """When each VirtualService was first seen, by its host."""

    def __init__(self) -> None:
        self.at_s: dict[str, float] = {}

    async def follow(self, reader: KubeReader, path: str) -> None:
        version = (await reader.get(path))["metadata"]["resourceVersion"]
        async for event in reader.watch(path, {"resourceVersion": version}):
            for host in event["object"].get("spec", {}).get("hosts", ()):
                self.at_s.setdefault(host, time.perf_counter())


def _host(name: str) -> str:
    return f"{name}.example"


def _providers(namespace: str) -> str:
    return f"/apis/{API_VERSION}/namespaces/{namespace}/providers"


async def _apply(api: KubeWriter, namespace: str, name: str) -> None:
    spec: dict[str, Any] = {"vendor": "DeepSeek", "url": f"https://{_host(name)}/v1", "models": [{"name": name}]}
    body = {"apiVersion": API_VERSION, "kind": "Provider", "metadata": {"name": name}, "spec": spec}
    path = f"{_providers(namespace)}/{name}?fieldManager=limpet-bench&force=true"
    await api.call("PATCH", path, body, content_type=APPLY_PATCH)


def _operator(server: ApiServer, folder: Path, namespace: str) -> ExitStack:
    command = (
        *(sys.executable, "-m", "limpet_operator", "--kubeconfig", str(server.kubeconfig)),
        *("--listen", f"unix:{folder}/operator.sock", "--http", f"127.0.0.1:{free_port()}"),
        *("--namespace", namespace, "--lease-namespace", namespace, "--lease-name", "limpet", "--istio", "egress"),
    )
    program = Program("operator", command, folder / "operator.log", bound=True)
    program.start()
    stack = ExitStack()
    stack.callback(program.stop)
    return stack
