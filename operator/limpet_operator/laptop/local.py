"""Both planes and a real Envoy on one machine, without a cluster: what `limpet up`, the demo and the tests run.

The control plane lives in this process; Envoy and the ext_proc worker are its children and connect to it over Unix
sockets in a directory of their own.
"""

import asyncio
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from limpet_extproc.contract.client_keys import ClientKeysMode
from limpet_extproc.contract.envoy import PROBE_SOCKET, extproc_socket
from limpet_extproc.contract.registry import Registry
from limpet_operator.fleet.fleet import Fleet
from limpet_operator.fleet.health_links import HealthLinks
from limpet_operator.fleet.links import PeerLinks
from limpet_operator.laptop.activity import ActivityPlace, LocalActivity
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.keeper import ask, ask_worker, keep
from limpet_operator.laptop.listen import CannotStart, find_listen_address, in_url
from limpet_operator.laptop.machine import envoy_command, system_ca_file
from limpet_operator.laptop.run_dir import RunDir
from limpet_operator.laptop.state import state_flags
from limpet_operator.planning.plan import Plan
from limpet_operator.probe.metrics import build_probe_metrics
from limpet_operator.probe.prober import Prober
from limpet_operator.probe.view import ProbeResult
from limpet_operator.publish.address_family import lookup_family, reaches
from limpet_operator.publish.bootstrap import bootstrap
from limpet_operator.publish.envoy_settings import CLIENT_LISTENER, EXTPROC_CLUSTER, EnvoySettings, SidecarAccess
from limpet_operator.publish.overload import HEAP_BYTES
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.proxy import ProxySettings
from limpet_operator.serve.acknowledgements import Nack
from limpet_operator.serve.control_plane import ControlPlane
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.rollout import RemovalTimeouts
from limpet_operator.serve.tasks import beside, first_of
from limpet_operator.status.health import ProviderHealth, healths

EXTPROC_ENVIRONMENT: Final = {
    # gRPC's own poller instead of its event engine: a third fewer thread switches for a request, measured with 1.85.
    "GRPC_EXPERIMENTS": "-event_engine_listener,-event_engine_client",
    # The translator is started from beside gRPC's threads and uses none of them; gRPC would warn of it.
    "GRPC_ENABLE_FORK_SUPPORT": "0",
    # Buffers of ordinary prompts are kept by the allocator, those of huge ones go back to the system at once.
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024 * 1024),
    "MALLOC_MMAP_THRESHOLD_": str(4 * 1024 * 1024),
}
"""Defaults for a worker's environment, which the user's own overrides; they count only from the start of a process."""

_EXTPROC: Final = "ext_proc"
_UNDECIDED: Final = "providers are tried in a fixed order and no conversation is looked up"
_UNCHECKED: Final = "nobody is served, as clients' keys cannot be checked"

_READY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class LocalSettings:
    """How the local gateway runs."""

    host: str = "127.0.0.1"
    """An address of either family, or a name of this machine."""
    port: int = 10000
    own_names: tuple[str, ...] = ()
    """Further host names that clients may use."""
    cors_origins: tuple[str, ...] = ()
    """Further origins whose pages may use it."""
    client_keys: ClientKeysMode = "Off"
    """Whether clients need a key."""
    node: str = "limpet-local"
    """The id of its Envoy, by which records name their gateway: of those that tell one activity service, or hear of
    each other, each has its own."""
    header_mode: bool = False
    verbose: bool = False
    extproc_metrics_port: int = 0
    body_limit_bytes: int = 32 * 1024 * 1024
    drain_s: float = 5.0
    envoy_heap_bytes: int = HEAP_BYTES
    """Limit of Envoy's memory."""
    proxies: ProxySettings = field(default_factory=ProxySettings)
    """How providers that configure no proxy are reached."""
    sidecars: SidecarAccess | None = None
    """The lab has some."""
    tls_port: int | None = None
    """Where it serves `https://` with the certificate of its plan; on a laptop there is none."""
    tenant_from_workload: bool = False
    """Whether a sidecar in front says who asks."""
    envoy_concurrency: int | None = None
    """Envoy's threads; None: as many as ext_proc workers, and at least two, as one copies a large body for a while."""
    extproc_command: Sequence[str] = (sys.executable, "-m", "limpet_extproc")
    """The lab runs other routing rules behind the same Envoy."""
    extproc_workers: int = 1
    """Several share one parent process, as in a cluster, and need the flags of a shared memory."""
    state_folder: Path | None = None
    """Where the ledger and the secret for its tenants' names outlive the gateway. None: nowhere."""
    activity: ActivityPlace | None = None
    """Where records of requests are kept and shown. None: no record is made."""
    extproc_flags: Sequence[str] = ()
    """Further flags of ext_proc."""
    on_nack: Callable[[Nack], None] = lambda _: None
    """Called when Envoy refuses something, which is also logged as a warning."""
    on_health: Callable[[Mapping[str, ProviderHealth]], None] = lambda _: None
    """Called with how the providers are doing, by name, whenever that may have changed, until the gateway ends."""
    on_probes: Callable[[Mapping[ObjectKey, Sequence[ProbeResult]]], None] = lambda _: None
    """Called at the same times with what each HealthProbe finds."""


class LocalGateway:
    """The running gateway: `async with LocalGateway(settings) as gateway`, then `apply` a plan and await `ready`."""

    def __init__(self, settings: LocalSettings) -> None:
        """Raises CannotStart if the address is not available."""
        self.settings = settings
        self.address = find_listen_address(settings.host, settings.port)
        self.registry = Registry()
        metrics = build_metrics(self.registry, version("limpet"))
        self._run_dir = RunDir()
        run_dir = self._run_dir.path
        self._socket = run_dir / "operator.sock"
        self._status_socket = run_dir / "status.sock"
        self._extproc_sockets = tuple(run_dir / extproc_socket(n) for n in range(settings.extproc_workers))
        self.admin_socket = run_dir / "admin.sock"
        self.children = Children(run_dir)
        self._activity = LocalActivity(run_dir, settings.activity) if settings.activity is not None else None
        self.envoy = EnvoySettings(
            listen_host=self.address.addresses[0],
            listen_also=self.address.addresses[1:],
            listen_port=settings.port,
            shares_port=False,  # A second gateway would take a part of the requests, with a memory of its own.
            debug=self.address.loopback,
            own_names=self.address.own_names(settings.own_names),
            cors_origins=self.address.origins(settings.cors_origins),
            extproc_sockets=tuple(str(path) for path in self._extproc_sockets),
            probe_socket=str(run_dir / PROBE_SOCKET),
            header_mode=settings.header_mode,
            sidecars=settings.sidecars,
            tls_port=settings.tls_port,
            tenant_from_workload=settings.tenant_from_workload,
            client_keys=settings.client_keys,
            body_limit_bytes=settings.body_limit_bytes,
            proxies=settings.proxies,
            dns_lookup_family=lookup_family(reaches),
            system_ca_file=system_ca_file(),
        )
        timeouts = RemovalTimeouts(drain_s=settings.drain_s)
        self.control_plane = ControlPlane(self.envoy, metrics, timeouts, on_nack=settings.on_nack)
        links = PeerLinks()
        self._fleet = Fleet(self.control_plane, links, HealthLinks(links, metrics), metrics, self._health_changed)
        self.prober = Prober(
            self.control_plane.health.exchange, build_probe_metrics(self.registry), lambda: True, self._health_changed
        )
        self._plan = Plan()
        self._running = AsyncExitStack()
        self._ending = False

    @property
    def base_url(self) -> str:
        """What an OpenAI SDK takes as `base_url`."""
        return f"http://{in_url(self.address.reachable)}:{self.address.port}/v1"

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as running:
            running.callback(self._run_dir.cleanup)
            await self.control_plane.start(f"unix:{self._socket}")
            running.push_async_callback(self.control_plane.stop)
            await running.enter_async_context(beside(self._fleet.run()))
            await running.enter_async_context(beside(self.prober.run()))
            if self._activity is not None:
                running.push_async_callback(self._activity.stop)  # after the worker, which hands over its last records
                await self._activity.begin()
            running.push_async_callback(self.children.stop)
            await self.start_extproc()
            await self._start_envoy()
            self._running = running.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ending = True
        await self._running.aclose()

    def apply(self, plan: Plan) -> None:
        """Serve this plan; additions take effect within milliseconds, removals after their last requests."""
        self._plan = plan
        self.control_plane.apply(plan)
        self.prober.plan_changed(plan)

    async def ready(self) -> None:
        """Return when Envoy answers and ext_proc decides.

        Raises ChildDied, or CannotStart when the port has been taken, or after a minute.
        """
        try:
            await self.children.until(self._serving(), _READY_S)
        except TimeoutError:
            raise CannotStart(
                f"the gateway is not ready after {_READY_S:.0f} s; Envoy's log: {self.children.log_dir}/envoy.log"
            ) from None

    async def shows_activity(self) -> bool:
        """Whether the activity page can be opened; waits for that a while, as its service starts beside the others."""
        return self._activity is not None and await self._activity.taking()

    async def running(self, say: Callable[[str], None]) -> None:
        """Never return, keep ext_proc and the activity service running and `say` when they ended.

        Raises ChildDied when Envoy ends.
        """
        if self._activity is None:
            await self._keep_planes(say)
        else:
            await first_of(self._keep_planes(say), self._activity.keep(say))

    async def _keep_planes(self, say: Callable[[str], None]) -> None:
        if self.settings.extproc_workers > 1:  # They have a parent that keeps them.
            await self.children.watch()
        meanwhile = _UNCHECKED if self.settings.client_keys == "Required" else _UNDECIDED
        await keep(self.children, _EXTPROC, self.start_extproc, lambda: ask_worker(self._status_socket), say, meanwhile)

    async def drained(self) -> None:
        """Return when every removal begun so far is done."""
        await self.control_plane.drained()

    async def _serving(self) -> None:
        # Envoy opens its port only with listener and routes complete, and does not announce it.
        while not (self._deciding() and await self._listening() and await self._all_healthy()):  # noqa: ASYNC110
            await asyncio.sleep(0.02)

    def _deciding(self) -> bool:
        return self.control_plane.catalogs.deciding >= self.settings.extproc_workers

    async def _listening(self) -> bool:
        """Whether Envoy has opened the port: if it accepts connections, that may be another process's doing.

        Raises CannotStart if another has taken the port since it was found free.
        """
        stats = await ask(self.admin_socket, "/stats?filter=^listener_manager") or b""
        if b".workers_started: 1\n" not in stats:
            return False
        if f"{CLIENT_LISTENER}::".encode() in (await ask(self.admin_socket, "/listeners") or b""):
            return True
        if b".listener_create_failure: 0\n" not in stats:
            find_listen_address(self.address.host, self.address.port)
            raise CannotStart(f"Envoy could not listen on {in_url(self.address.host)}:{self.address.port}; try again")
        return False

    async def _all_healthy(self) -> bool:
        """Whether Envoy's health checks let it send requests to every worker."""
        healthy = f"cluster.{EXTPROC_CLUSTER}.membership_healthy: {self.settings.extproc_workers}\n"
        return healthy.encode() in (await ask(self.admin_socket, f"/stats?filter={EXTPROC_CLUSTER}.membership") or b"")

    async def start_extproc(self) -> None:
        """Start ext_proc: one worker, or several under their parent."""
        workers, metrics_port = self.settings.extproc_workers, self.settings.extproc_metrics_port
        if workers == 1:
            # Its log about providers and connections is for pods; here the control plane tells the user.
            place = [
                *(f"--socket={self._extproc_sockets[0]}", f"--status-socket={self._status_socket}"),
                *(f"--metrics-port={metrics_port}", "--log-level=warning"),
            ]
        else:
            directory = self._extproc_sockets[0].parent
            place = [f"--socket-dir={directory}", f"--workers={workers}", f"--http=127.0.0.1:{metrics_port}"]
        command = [
            *self.settings.extproc_command,
            *place,
            f"--control-plane=unix:{self._socket}",
            f"--node={self.settings.node}",
            *(state_flags(self.settings.state_folder) if self.settings.state_folder is not None else ()),
            *((f"--activity={self._activity.target}",) if self._activity is not None else ()),
            *self.settings.extproc_flags,
        ]
        if self.settings.verbose:
            command.append("--verbose")
        environment = {**EXTPROC_ENVIRONMENT, **os.environ}
        await self.children.start(_EXTPROC, command, shown=self.settings.verbose, env=environment)

    async def _start_envoy(self) -> None:
        concurrency = self.settings.envoy_concurrency or max(2, self.settings.extproc_workers)
        await self.children.start("envoy", envoy_command(self._write_bootstrap(), "--concurrency", str(concurrency)))

    def _write_bootstrap(self) -> Path:
        controlplane, admin = ({"pipe": {"path": str(path)}} for path in (self._socket, self.admin_socket))
        config = bootstrap(self.settings.node, controlplane, admin, self.settings.envoy_heap_bytes)
        path = Path(self._run_dir.path, "envoy.json")
        path.write_text(json.dumps(config))
        return path

    def _health_changed(self) -> None:
        if self._ending:  # What the worker knew goes with it, which is no news about any provider.
            return
        self.settings.on_health(healths(self._plan, self._fleet.traffic(), self.prober.probed()))
        self.settings.on_probes(self.prober.results())
