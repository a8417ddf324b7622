"""How ext_proc is started: as one worker, or as the supervisor of several."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, TypeAlias, get_args

from limpet_extproc.contract.envoy import extproc_socket, translator_socket
from limpet_extproc.contract.host_port import HostPort

LogLevel: TypeAlias = Literal["debug", "info", "warning", "error"]
LogFormat: TypeAlias = Literal["json", "text"]
ServerName: TypeAlias = Literal["own", "grpcio"]

LOG_LEVELS: Final[tuple[LogLevel, ...]] = get_args(LogLevel)
LOG_FORMATS: Final[tuple[LogFormat, ...]] = get_args(LogFormat)
SERVERS: Final[tuple[ServerName, ...]] = get_args(ServerName)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommonSettings:
    """What a worker needs wherever it runs; a supervisor passes it on. Each field is the flag of the same name."""

    control_plane: str
    """gRPC target of the operator: `unix:/run/limpet.sock` or `dns:///limpet-operator.limpet.svc:18000`."""
    node: str
    """Id of the Envoy beside this process; the operator sends the catalog that suits that Envoy."""
    tls_dir: Path | None = None
    """Directory with `tls.crt`, `tls.key` and `ca.crt` for mutual TLS with the operator. Without: plain text."""
    redis_url: str | None = None
    """Memory shared by all workers and gateways. Without: each worker has its own, in the process."""
    redis_credentials: Path | None = None
    """Directory with the files `username`, `password` and `ca.crt`, each optional; read for every new connection."""
    redis_deadline_ms: float = 5.0
    """Milliseconds that a request waits for a lookup; after that it is routed as if nothing were known."""
    memory_key_file: Path | None = None
    """Secret that conversation keys are made with, the same for all gateways. Without: random, so keys end with us."""
    ledger_file: Path | None = None
    """Where the ledger is kept. Without: in the shared memory, or where there is none, nowhere."""
    activity: str | None = None
    """gRPC target of the activity service, which gets a record of every request: `unix:/run/activity.sock` or
    `dns:///limpet-activity.limpet.svc:18010`. Without: no record is made."""
    max_conversations: int = 50_000
    """Bound of a memory in the process, about 400 bytes each; the longest unused are dropped. Redis has its own."""
    server: ServerName = "own"
    """What answers Envoy's calls: the HTTP/2 server of this package, or gRPC's."""
    verbose: bool = False
    """Print a line for every decision."""
    log_level: LogLevel = "info"
    """The least severe lines that are logged."""
    log_format: LogFormat = "text"
    """One JSON object a line, or plain text. The flag's default is `json` for several workers, else `text`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings(CommonSettings):
    """One worker."""

    socket: Path
    """Unix socket on which Envoy finds it."""
    status_socket: Path | None = None
    """Unix socket on which it reports to the process that started it. Without: it does not."""
    metrics_port: int = 0
    """Loopback port for `/metrics`; 0: none."""
    worker: int | None = None
    """Its number among its supervisor's workers, from 0. Without: it has no supervisor."""
    siblings: int = 1
    """Workers of its supervisor, itself included; the sockets of all are in the directory of `socket`."""
    clock_zero_s: float | None = None
    """See `steady_clock.clock_zero_s`, as its supervisor had it. Without: as the machine's clock has it now."""

    @property
    def translator_socket(self) -> Path:
        """Unix socket on which Envoy has requests translated, beside the other one."""
        return self.socket.with_name(translator_socket(self.worker or 0))

    def to_argv(self) -> list[str]:
        """The flags that parse to these settings."""
        argv: list[str] = []
        for field in fields(self):
            flag, value = f"--{field.name.replace('_', '-')}", getattr(self, field.name)
            if value is True:
                argv.append(flag)
            elif value is not None and value is not False:
                argv.append(f"{flag}={value}")
        return argv


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorSettings(CommonSettings):
    """Several workers beside one Envoy, and the process that keeps them running."""

    socket_dir: Path
    """Directory of their sockets, `extproc-0.sock` and so on; it is made if it is missing."""
    workers: int = 1
    """How many."""
    http: HostPort | None = None
    """Where `/livez`, `/readyz` and `/metrics` are served. Without: nowhere."""
    probes: HostPort | None = None
    """Another address for `/livez` and `/readyz`, which only the kubelet may reach. Without: none."""

    def worker(self, number: int) -> WorkerSettings:
        """Those of one of its workers."""
        shared: dict[str, Any] = {field.name: getattr(self, field.name) for field in fields(CommonSettings)}
        return WorkerSettings(
            **shared,
            socket=envoy_socket(self.socket_dir, number),
            status_socket=status_socket(self.socket_dir, number),
            worker=number,
            siblings=self.workers,
        )


def envoy_socket(directory: Path, number: int) -> Path:
    """Where Envoy finds a worker."""
    return directory / extproc_socket(number)


def status_socket(directory: Path, number: int) -> Path:
    """Where the supervisor asks a worker for its status."""
    return directory / f"status-{number}.sock"
