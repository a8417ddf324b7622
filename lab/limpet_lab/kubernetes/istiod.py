"""A real istiod over the tests' API server: it serves xDS to sidecars and signs their certificates.

Nobody injects sidecars or sends webhooks: what a pod gets is what the test starts. All methods block; from async code
call them by `asyncio.to_thread`.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import httpx
import yaml

from limpet_lab.kubernetes.apiserver import LOOPBACK, ApiServer, UnexpectedResultError
from limpet_lab.kubernetes.mesh_assets import MeshAssets
from limpet_lab.kubernetes.program import Program
from limpet_operator.laptop.machine import free_port

SYSTEM: Final = "istio-system"
"""The namespace of istiod and of objects that hold for the whole mesh."""

TRUST_DOMAIN: Final = "cluster.local"

_READY_S: Final = 90.0
_MESH: Final[Mapping[str, Any]] = {"accessLogFile": "/dev/stdout", "rootNamespace": SYSTEM, "trustDomain": TRUST_DOMAIN}
# Filters of Istio's own build of Envoy, which a plain Envoy does not have. Without the one for ALPN a sidecar announces
# every connection as `istio`, which inbound listeners take as well.
_FOR_PLAIN_ENVOYS: Final = {"PILOT_ENABLE_METADATA_EXCHANGE": "false", "PILOT_ENABLE_ALPN_FILTER": "false"}


@dataclass(slots=True)
class Istiod:
    """One istiod, at the same ports over all restarts."""

    address: str
    """Where sidecars reach it, HOST:PORT: xDS and the signing of certificates, by token and in plain text."""
    program: Program
    _http: httpx.Client

    @classmethod
    @contextmanager
    def running(
        cls,
        assets: MeshAssets,
        server: ApiServer,
        directory: Path,
        *,
        advertise: str = LOOPBACK,
        mesh: Mapping[str, Any] | None = None,
        bound: bool = False,
    ) -> Iterator[Self]:
        """Istio's CRDs applied and istiod ready, until the end of the block; its files are in `directory`.

        `advertise` is its address for sidecars; `mesh` goes over the mesh's settings; `bound` is Program's.
        """
        server.kubectl("apply", "--server-side", "--filename", str(assets.istio_crds)).ok()
        server.wait_established()
        server.kubectl("create", "namespace", SYSTEM).ok()
        settings = directory / "mesh.yaml"
        settings.write_text(yaml.safe_dump({**_MESH, **(mesh or {})}))
        http, grpc, monitoring = free_port(), free_port(), free_port()
        command = (
            *(str(assets.istiod), "discovery", "--kubeconfig", str(server.kubeconfig), "--meshConfig", str(settings)),
            *("--httpAddr", f"{LOOPBACK}:{http}", "--grpcAddr", f"{advertise}:{grpc}"),
            *("--secureGRPCAddr", "", "--httpsAddr", "", "--monitoringAddr", f"{LOOPBACK}:{monitoring}"),
            *("--domain", TRUST_DOMAIN, "--ctrlz_port", "0"),
        )
        environment = {
            "HOME": str(directory),
            "POD_NAME": "istiod-1",
            "POD_NAMESPACE": SYSTEM,
            "SERVICE_ACCOUNT": "istiod",
            "PILOT_CERT_PROVIDER": "istiod",
            "REVISION": "default",
            "CLUSTER_ID": "Kubernetes",
            "XDS_AUTH_PLAINTEXT": "true",  # tokens count without TLS, too
            **_FOR_PLAIN_ENVOYS,
        }
        program = Program("istiod", command, directory / "istiod.log", environment, bound)
        istiod = cls(f"{advertise}:{grpc}", program, httpx.Client(base_url=f"http://{LOOPBACK}:{http}", timeout=5))
        try:
            istiod.start()
            yield istiod
        finally:
            istiod.program.stop()
            istiod._http.close()

    def start(self) -> None:
        """Start it and wait until it is ready. Raises UnexpectedResultError, with the end of its log."""
        self.program.start()
        deadline = time.monotonic() + _READY_S
        while time.monotonic() < deadline:
            if not self.program.alive():
                raise UnexpectedResultError(f"istiod has ended:\n{self.program.log_tail()}")
            if self._ready():
                return
            time.sleep(0.05)
        raise UnexpectedResultError(f"istiod is not ready:\n{self.program.log_tail()}")

    def restart(self) -> None:
        """Kill it, as if its machine were lost, and start it again; it is ready on return."""
        self.program.kill()
        self.start()

    def _ready(self) -> bool:
        try:
            return self._http.get("/ready").status_code == 200
        except httpx.TransportError:
            return False
