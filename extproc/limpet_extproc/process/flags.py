"""How ext_proc is started: its flags, and which of them do not go together."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from limpet_extproc.memory import redis_address

_KEY_BYTES: Final = 16
"""A shorter secret could be found by trying, and conversations then be recognised in the memory."""

LOG_LEVELS: Final = ("debug", "info", "warning", "error")
LOG_FORMATS: Final = ("json", "text")


def flags_parser() -> argparse.ArgumentParser:
    """The flags of ext_proc; the lab's workers take the same and more."""
    parser = argparse.ArgumentParser(
        prog="limpet-extproc",
        description="Limpet's data plane: one worker on --socket, or a parent with --workers of them in --socket-dir.",
    )
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--socket", help="one worker: the Unix socket on which Envoy finds it")
    place.add_argument("--socket-dir", help="several: the directory of their sockets, extproc-0.sock and so on")
    parser.add_argument("--workers", type=int, default=1, help="worker processes, with --socket-dir (default: 1)")
    parser.add_argument(
        "--control-plane",
        required=True,
        help="gRPC target of the operator, for example unix:/run/limpet.sock or dns:///limpet-operator.limpet.svc:18000",
    )
    parser.add_argument("--tls-dir", help="speak mutual TLS to the operator, with tls.crt, tls.key and ca.crt in here")
    parser.add_argument("--node", required=True, help="id of the Envoy beside this process")
    _add_memory(parser)
    parser.add_argument("--http", help="HOST:PORT for /livez, /readyz and /metrics, with --socket-dir")
    parser.add_argument("--probes", help="another HOST:PORT for /livez and /readyz, which only the kubelet may reach")
    parser.add_argument("--metrics-port", type=int, default=0, help="one worker: loopback port for /metrics; 0: none")
    parser.add_argument("--status-socket", help="Unix socket on which a worker tells its parent how it is")
    parser.add_argument("--worker", type=int, help="number of this worker among those of its parent, from 0")
    parser.add_argument("--siblings", type=int, default=1, help="workers of its parent in all, in --socket's directory")
    parser.add_argument("--verbose", action="store_true", help="print a line for every decision")
    parser.add_argument("--log-level", choices=LOG_LEVELS, default="info", help="(default: info)")
    parser.add_argument(
        "--log-format", choices=LOG_FORMATS, help="(default: json with --socket-dir, text with --socket)"
    )
    return parser


def _add_memory(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--redis-url", help="where all workers and gateways remember; without: in this process")
    parser.add_argument(
        "--redis-credentials", help="directory with the files username, password and ca.crt, each optional"
    )
    parser.add_argument(
        "--redis-deadline-ms", type=float, default=5.0, help="a request waits no longer for its memory (default: 5)"
    )
    parser.add_argument(
        "--memory-key-file", help="secret that conversation keys are made with, the same for all gateways"
    )
    parser.add_argument(
        "--max-conversations", type=int, default=50_000, help="bound of a memory in this process (default: 50000)"
    )


def read_flags(parser: argparse.ArgumentParser, argv: Sequence[str] | None) -> argparse.Namespace:
    """The flags of this process. Ends it with a message where they are wrong, as argparse does."""
    flags = parser.parse_args(argv)
    if wrong := problem(flags):
        parser.error(wrong)
    if flags.log_format is None:
        flags.log_format = "json" if flags.socket_dir else "text"
    return flags


def problem(flags: argparse.Namespace) -> str | None:
    """What is wrong with these flags together, and what to do."""
    if flags.workers < 1:
        return f"--workers {flags.workers}: at least one worker is needed"
    if flags.socket and flags.workers > 1:
        return "--socket is for one worker; give several a directory with --socket-dir DIR"
    for flag, address in (("--http", flags.http), ("--probes", flags.probes)):
        if address and not flags.socket_dir:
            return f"{flag} goes with --socket-dir DIR; one worker has --metrics-port"
        if address and host_port(address) is None:
            return f"{flag} {address}: not HOST:PORT, such as [::]:9100 or 0.0.0.0:9100"
    if flags.socket_dir and flags.metrics_port:
        return "--metrics-port goes with --socket; with --socket-dir the metrics of all workers are at --http HOST:PORT"
    if flags.redis_deadline_ms <= 0:
        return f"--redis-deadline-ms {flags.redis_deadline_ms:g}: it must be above 0"
    return _memory_problem(flags)


def _memory_problem(flags: argparse.Namespace) -> str | None:
    if flags.redis_url is None:
        if flags.workers > 1:
            return (
                f"--workers {flags.workers} without --redis-url: each worker would remember other conversations. "
                "Give them a Redis to share, or run one worker"
            )
        return "--redis-credentials without --redis-url" if flags.redis_credentials else None
    try:
        redis_address.parse(flags.redis_url)
    except redis_address.BadAddress as error:
        return str(error)
    if flags.memory_key_file is None:
        return (
            "--redis-url without --memory-key-file: conversation keys would differ from worker to worker. "
            "Give all gateways the same file of 32 random bytes"
        )
    return None


def host_port(text: str) -> tuple[str, int] | None:
    """`HOST:PORT` apart, an IPv6 host without its brackets; None if it is not that."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        return None
    return host.removeprefix("[").removesuffix("]"), int(port)


class BadStart(Exception):  # noqa: N818 (says what happened)
    """Something outside of us is in the way; the message says what and what to do."""


def memory_key(file: str) -> bytes:
    """The installation's secret for conversation keys: the file's bytes, as they are. Raises BadStart."""
    try:
        key = Path(file).read_bytes()
    except OSError as error:
        raise BadStart(f"--memory-key-file {file} cannot be read: {error.strerror}") from error
    if len(key) < _KEY_BYTES:
        raise BadStart(
            f"--memory-key-file {file} holds {len(key)} bytes, and at least {_KEY_BYTES} are needed: "
            "fill it with 32 random ones (openssl rand -base64 32)"
        )
    return key
