"""The command line of ext_proc: its flags, and which of them exclude or need each other."""

import argparse
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from limpet_extproc.contract.host_port import HostPort
from limpet_extproc.memory.redis import address as redis_address
from limpet_extproc.process.settings import (
    LOG_FORMATS,
    LOG_LEVELS,
    SERVERS,
    CommonSettings,
    SupervisorSettings,
    WorkerSettings,
)

_Some = TypeVar("_Some", bound=CommonSettings)


def parse(argv: Sequence[str] | None = None) -> WorkerSettings | SupervisorSettings:
    """The settings of this process, by default from its command line. If they are wrong, prints why and exits."""
    parser = _parser()
    flags = parser.parse_args(argv)
    if error := _error(flags):
        parser.error(error)
    if flags.log_format is None:
        flags.log_format = "json" if flags.socket_dir else "text"
    if flags.socket_dir is None:
        return _from(flags, WorkerSettings)
    flags.http, flags.probes = (HostPort.parse(text) if text else None for text in (flags.http, flags.probes))
    return _from(flags, SupervisorSettings)


def _from(flags: argparse.Namespace, kind: type[_Some]) -> _Some:
    values: dict[str, Any] = {field.name: getattr(flags, field.name) for field in fields(kind)}
    return kind(**values)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="limpet-extproc",
        description="Limpet's data plane: one worker on --socket, or a parent with --workers of them in --socket-dir.",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--socket", type=Path, help="one worker: the Unix socket on which Envoy finds it")
    place.add_argument(
        "--socket-dir", type=Path, help="several: the directory of their sockets, extproc-0.sock and so on"
    )
    parser.add_argument("--workers", type=int, default=1, help="worker processes, with --socket-dir (default: 1)")
    parser.add_argument(
        "--control-plane",
        required=True,
        help="gRPC target of the operator, for example unix:/run/limpet.sock or dns:///limpet-operator.limpet.svc:18000",
    )
    parser.add_argument(
        "--tls-dir", type=Path, help="speak mutual TLS to the operator, with tls.crt, tls.key and ca.crt in here"
    )
    parser.add_argument("--node", required=True, help="id of the Envoy beside this process")
    _add_memory(parser)
    parser.add_argument(
        "--activity",
        help="gRPC target of the activity service, for example unix:/run/activity.sock; it gets a record of every "
        "request, over TCP by the certificates of --tls-dir (default: no record is made)",
    )
    parser.add_argument("--http", help="HOST:PORT for /livez, /readyz and /metrics, with --socket-dir")
    parser.add_argument("--probes", help="another HOST:PORT for /livez and /readyz, which only the kubelet may reach")
    parser.add_argument("--metrics-port", type=int, default=0, help="one worker: loopback port for /metrics; 0: none")
    parser.add_argument("--status-socket", type=Path, help="Unix socket on which a worker reports to its parent")
    parser.add_argument("--worker", type=int, help="number of this worker among those of its parent, from 0")
    parser.add_argument("--siblings", type=int, default=1, help="workers of its parent in all, in --socket's directory")
    parser.add_argument(
        "--clock-zero-s", type=float, help="Unix time of the machine's start by its parent; without: by the clock now"
    )
    parser.add_argument(
        "--server",
        choices=SERVERS,
        default="own",
        help="what answers Envoy's calls: a small HTTP/2 server of our own, or gRPC's (grpcio), by which a request "
        "takes up to twice as much CPU here (default: own)",
    )
    parser.add_argument("--verbose", action="store_true", help="print a line for every decision")
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(default: info)")
    parser.add_argument(
        "--log-format", choices=LOG_FORMATS, help="(default: json with --socket-dir, text with --socket)"
    )
    return parser


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--redis-url", help="where all workers and gateways remember; without: in this process")
    parser.add_argument(
        "--redis-credentials", type=Path, help="directory with the files username, password and ca.crt, each optional"
    )
    parser.add_argument(
        "--redis-deadline-ms", type=float, default=5.0, help="a request waits no longer for its memory (default: 5)"
    )
    parser.add_argument(
        "--memory-key-file", type=Path, help="secret that conversation keys are made with, the same for all gateways"
    )
    parser.add_argument(
        "--ledger-file", type=Path, help="keep what requests cost in this file, for 'limpet report' (default: in Redis)"
    )
    parser.add_argument(
        "--max-conversations", type=int, default=50_000, help="bound of a memory in this process (default: 50000)"
    )


def _error(flags: argparse.Namespace) -> str | None:
    """What is wrong with these flags together, and what to do."""
    if flags.workers < 1:
        return f"--workers {flags.workers}: at least one worker is needed"
    if flags.socket and flags.workers > 1:
        return "--socket is for one worker; give several a directory with --socket-dir DIR"
    for flag, address in (("--http", flags.http), ("--probes", flags.probes)):
        if address and not flags.socket_dir:
            return f"{flag} goes with --socket-dir DIR; one worker has --metrics-port"
        if address and HostPort.parse(address) is None:
            return f"{flag} {address}: not HOST:PORT, such as [::]:9100 or 0.0.0.0:9100"
    if flags.socket_dir and flags.metrics_port:
        return "--metrics-port goes with --socket; with --socket-dir the metrics of all workers are at --http HOST:PORT"
    if not 0 <= flags.metrics_port <= 65535:
        return f"--metrics-port {flags.metrics_port}: a port is a number up to 65535; 0 turns it off"
    if flags.redis_deadline_ms <= 0:
        return f"--redis-deadline-ms {flags.redis_deadline_ms:g}: it must be above 0"
    return _memory_error(flags)


def _memory_error(flags: argparse.Namespace) -> str | None:
    if flags.redis_url is None:
        if flags.workers > 1:
            return (
                f"--workers {flags.workers} without --redis-url: each worker would remember other conversations. "
                "Give them a Redis to share, or run one worker"
            )
        return "--redis-credentials without --redis-url" if flags.redis_credentials else None
    try:
        redis_address.parse(flags.redis_url)
    except redis_address.AddressError as error:
        return str(error)
    if flags.memory_key_file is None:
        return (
            "--redis-url without --memory-key-file: conversation keys would differ from worker to worker. "
            "Give all gateways the same file of 32 random bytes"
        )
    return None
