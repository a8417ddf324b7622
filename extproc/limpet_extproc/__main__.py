"""`python -m limpet_extproc`: one worker. Flags, wiring, signals; no decisions."""

import argparse
import asyncio
import gc
import logging
import secrets
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

import grpc
import uvloop
from prometheus_client import CollectorRegistry, start_http_server

from limpet_extproc import outcome, server
from limpet_extproc.catalog_client import Hooks, watch
from limpet_extproc.contract import Catalog
from limpet_extproc.decision_line import decision_line
from limpet_extproc.health import State
from limpet_extproc.memory import Memory
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.metrics import Metrics
from limpet_extproc.providers import Providers
from limpet_extproc.snapshot import EMPTY, Snapshot, snapshot

log = logging.getLogger("limpet.extproc")

_GRPC_OPTIONS = (
    # Envoy sends the whole body in one message; its own limit is the one that counts.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
)


def flags_parser() -> argparse.ArgumentParser:
    """The flags of a worker; the lab's workers take the same and more."""
    parser = argparse.ArgumentParser(prog="limpet-extproc", description="One ext_proc worker of Limpet.")
    parser.add_argument("--socket", required=True, help="Unix socket on which Envoy finds this worker")
    parser.add_argument(
        "--control-plane", required=True, help="gRPC target of the operator, for example unix:/run/limpet.sock"
    )
    parser.add_argument("--node", required=True, help="id of the Envoy beside this worker")
    parser.add_argument("--metrics-port", type=int, default=0, help="loopback port for Prometheus metrics; 0: none")
    parser.add_argument("--max-conversations", type=int, default=50_000, help="bound of the memory in this process")
    parser.add_argument("--verbose", action="store_true", help="print a line for every decision")
    return parser


@dataclass(frozen=True, slots=True)
class Rules:
    """What a worker decides by, and the two things that its outcomes feed."""

    decides: server.Decides
    memory: Memory
    providers: Providers


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a worker gives to the rules it is to run."""

    max_conversations: int
    snapshot: Callable[[], Snapshot]
    metrics: Metrics
    provider_changed: Callable[[str, State], None]


def our_rules(around: Surroundings) -> Rules:
    """Limpet's own."""
    memory = InProcessMemory(around.max_conversations)
    providers = Providers(around.provider_changed)
    around.metrics.conversations.set_function(lambda: len(memory))
    coin = partial(Random().randbytes, 8)  # noqa: S311 - it spreads load and keeps no secret
    decides = server.Limpet(around.snapshot, memory, providers, memory_secret(), time.time, coin)
    return Rules(decides, memory, providers)


class Worker:
    """What a worker is made of, wired together."""

    def __init__(self, flags: argparse.Namespace, rules: Callable[[Surroundings], Rules] = our_rules) -> None:
        self._flags = flags
        self._snapshot: Snapshot = EMPTY
        self.metrics = Metrics(CollectorRegistry())
        self.rules = rules(
            Surroundings(flags.max_conversations, lambda: self._snapshot, self.metrics, self._provider_changed)
        )
        self.extproc = server.ExtProc(self.rules.decides, self.metrics, lambda: self._snapshot is not EMPTY)
        verbose = (lambda *line: print(decision_line(*line), flush=True)) if flags.verbose else None
        self.outcomes = outcome.Outcomes(self.rules.memory, self.rules.providers, self.metrics, time.time, verbose)

    def take(self, catalog: Catalog) -> None:
        """Decide by this catalog from now on."""
        first = self._snapshot is EMPTY
        self._snapshot = snapshot(catalog)
        if first:
            # What is here now mostly stays: looking through it for garbage again and again would hold up requests.
            gc.collect()
            gc.freeze()
        self.metrics.catalog_time.set_to_current_time()

    def _provider_changed(self, provider: str, state: State) -> None:
        self.metrics.out.labels(provider).set(state.out_because is not None)
        if state.out_because is None:
            log.info("%s is back", provider)
        else:
            log.warning("%s is out: %s", provider, state.out_because)

    async def _flush(self) -> None:
        """What no access log entry followed must show in the metrics too."""
        while True:
            await asyncio.sleep(1.0)
            self.metrics.flush()

    async def run(self) -> None:
        """Serve until a signal ends it."""
        stopped = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        serving = grpc.aio.server(options=_GRPC_OPTIONS)
        serving.add_generic_rpc_handlers((self.extproc, _handlers(outcome.METHOD, self.outcomes.handler())))
        serving.add_insecure_port(f"unix:{self._flags.socket}")
        await serving.start()
        if self._flags.metrics_port:
            start_http_server(self._flags.metrics_port, "127.0.0.1", self.metrics.registry)
        watching = asyncio.create_task(
            watch(
                self._flags.control_plane,
                self._flags.node,
                self.take,
                Hooks(connected=self.metrics.catalog_connected.set),
            )
        )
        flushing = asyncio.create_task(self._flush())
        ended = asyncio.create_task(stopped.wait())
        await asyncio.wait({watching, ended}, return_when=asyncio.FIRST_COMPLETED)
        watching.cancel()
        flushing.cancel()
        await serving.stop(grace=1.0)
        if watching.done() and not watching.cancelled() and (error := watching.exception()):
            raise error


def memory_secret() -> bytes:
    """Keys of a memory that lives as long as this process need no secret that lives longer."""
    return secrets.token_bytes(32)


def _handlers(method: str, handler: "grpc.RpcMethodHandler[bytes, bytes]") -> "grpc.GenericRpcHandler[bytes, bytes]":
    _, service, name = method.split("/")
    return grpc.method_handlers_generic_handler(service, {name: handler})


def run(flags: argparse.Namespace, rules: Callable[[Surroundings], Rules] = our_rules) -> None:
    """Run one worker by these rules until it is told to stop."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    Path(flags.socket).unlink(missing_ok=True)
    uvloop.run(Worker(flags, rules).run())


def main(argv: Sequence[str] | None = None) -> int:
    """Run Limpet's own worker."""
    run(flags_parser().parse_args(argv))
    return 0


if __name__ == "__main__":
    sys.exit(main())
