"""All that Limpet runs, at once: gateway, activity service, collector, memory; and everything that they write down."""

import json
import logging
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import aiohttp
import psutil
from prometheus_client import generate_latest
from tests.activity.export.collectors import Received, grpc_collector
from tests.envoy.guarded import Guarded
from tests.envoy.stage import Stage
from tests.extproc.memory.redis_server import RedisServer
from tests.waiting import until

from limpet_extproc.contract.state_folder import ACTIVITY_FILE, PAGE_TOKEN_FILE
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.keeper import ask
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.laptop.state import prepared_state
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser

Keeps = Literal["Redis", "files"]
"""Where conversations and the ledger are kept: both in Redis, or the one in the worker and the other in a file."""

_PAGES: Final = ("/", "/activity", "/activity/rows", "/providers")
_APIS: Final = ("/api/activity?limit=200", "/api/overview", "/api/providers", "/api/state")


@dataclass
class WholeStack:
    """The running whole, with a gateway whose clients need keys."""

    story: Guarded
    folder: Path
    activity: Children
    page: str
    activity_metrics: str
    collector: Received
    redis: RedisServer | None
    logged: list[str]
    """What the operator logs, which runs in this process."""
    answers: list[bytes] = field(default_factory=list)
    """Explanations that clients got."""

    async def asked(self, path: str) -> bytes:
        """A page or an answer of the activity service."""
        headers = {"authorization": f"Bearer {(self.folder / PAGE_TOKEN_FILE).read_text()}"}
        async with self.story.stage.http.get(self.page + path, headers=headers) as answer:
            body = await answer.read()
            assert answer.status == 200, (path, answer.status, body[:300])
            return body

    async def records(self) -> list[dict[str, Any]]:
        """The newest records, the newest first."""
        found: list[dict[str, Any]] = json.loads(await self.asked("/api/activity?limit=200"))["records"]
        return found

    async def everything(self) -> Mapping[str, bytes]:
        """Whatever any part of it has written down or shows, by where."""
        records = await self.records()
        ids = [each["id"] for each in records]
        keys = {each["conversation"] for each in records if each["conversation"]}
        pages = [
            *_PAGES,
            *(f"/activity/{each}" for each in ids),
            *(f"/conversations/{each}" for each in keys),
        ]
        apis = [*_APIS, *(f"/api/records/{each}" for each in ids), *(f"/api/conversations/{each}" for each in keys)]
        gateway = self.story.stage.gateway
        return {
            "store of the activity service": self._files(f"{ACTIVITY_FILE}*"),
            "lines of JSON": self._files("lines.jsonl"),
            "spans": b"".join(each.SerializeToString() for each in self.collector.requests),
            "metadata of spans": str(self.collector.headers).encode(),
            "pages": b"".join([await self.asked(path) for path in pages]),
            "JSON of the activity service": b"".join([await self.asked(path) for path in apis]),
            "metrics of the worker": (await self.story.stage.metrics_text()).encode(),
            "metrics of the activity service": await self._page(self.activity_metrics),
            "metrics of Envoy": await ask(gateway.admin_socket, "/stats/prometheus") or b"",
            "metrics of the operator": generate_latest(gateway.registry),
            "log of the worker": (gateway.children.log_dir / "ext_proc.log").read_bytes(),
            "log of Envoy": (gateway.children.log_dir / "envoy.log").read_bytes(),
            "log of the activity service": (self.activity.log_dir / "activity.log").read_bytes(),
            "log of the operator": "\n".join(self.logged).encode(),
            "command lines": self._command_lines(),
            "explanations": b"\n".join(self.answers),
            **(
                {"ledger": self._files("ledger*")} if self.redis is None else {"Redis": self._all_that_redis_was_told()}
            ),
        }

    def _files(self, pattern: str) -> bytes:
        return b"".join(each.read_bytes() for each in sorted(self.folder.glob(pattern)))

    def _all_that_redis_was_told(self) -> bytes:
        """Also what has been written over since: the file to which it appends every command."""
        assert self.redis is not None
        return b"".join(each.read_bytes() for each in sorted(self.redis.directory.rglob("*")) if each.is_file())

    def _command_lines(self) -> bytes:
        children = psutil.Process().children(recursive=True)
        return "\n".join(" ".join(each.cmdline()) for each in children if "limpet_lab" not in each.cmdline()).encode()

    async def _page(self, url: str) -> bytes:
        async with self.story.stage.http.get(url) as answer:
            return await answer.read()


@asynccontextmanager
async def whole_stack(number: int, sellers: Sellers, parser: Parser, keeps: Keeps) -> AsyncIterator[WholeStack]:
    """Everything, with our own processes at log level debug; Envoy's own debug log has every header by design."""
    async with AsyncExitStack() as stack:
        sync = stack.enter_context(ExitStack())
        folder = Path(sync.enter_context(tempfile.TemporaryDirectory(prefix="lmp-")))
        logged = sync.enter_context(debug_log())
        endpoint, collector = sync.enter_context(grpc_collector())
        state = prepared_state({"XDG_STATE_HOME": str(folder)}, folder)
        redis = _redis(sync, folder) if keeps == "Redis" else None
        activity = Children(folder)
        page, http, target = free_port(), free_port(), f"unix:{folder}/activity.sock"
        stack.push_async_callback(activity.stop)
        await activity.start("activity", _activity(state, page, http, target), env=_environment(endpoint))
        metrics_port = free_port()
        flags = [f"--activity={target}", "--log-level=debug", "--verbose"]
        if redis is not None:
            key = folder / "key"
            key.write_bytes(bytes(range(32)))
            flags += [f"--redis-url={redis.url}", "--redis-deadline-ms=1000", f"--memory-key-file={key}"]
        settings = LocalSettings(
            port=free_port(),
            extproc_metrics_port=metrics_port,
            drain_s=0.5,
            client_keys="Required",
            state_folder=None if redis else state,
            extproc_flags=flags,
        )
        gateway = await stack.enter_async_context(LocalGateway(settings))
        gateway.apply(Plan())
        await gateway.ready()
        stage = await stack.enter_async_context(Stage(number, sellers, gateway, parser, metrics_port))
        found = WholeStack(
            Guarded(stage),
            state,
            activity,
            f"http://127.0.0.1:{page}",
            f"http://127.0.0.1:{http}/metrics",
            collector,
            redis,
            logged,
        )

        async def shows() -> bool:
            try:
                return bool(await found.asked("/api/state"))
            except (aiohttp.ClientError, OSError):
                return False

        await until(shows, "the page of the activity service")
        yield found


@contextmanager
def debug_log() -> Any:
    """Everything that this process logs, whatever the level."""
    lines: list[str] = []

    class Keeping(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    handler, root = Keeping(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield lines
    finally:
        root.setLevel(before)
        root.removeHandler(handler)


def _redis(stack: ExitStack, folder: Path) -> RedisServer:
    options = {"appendonly": "yes", "appendfsync": "always", "aof-use-rdb-preamble": "no"}
    server = RedisServer(folder / "redis", options)
    stack.callback(server.kill)
    return server.start()


def _activity(state: Path, page: int, http: int, target: str) -> Sequence[str]:
    return [
        *(sys.executable, "-m", "limpet_activity", f"--listen={target}", f"--store=sqlite:///{state / ACTIVITY_FILE}"),
        *(f"--page=127.0.0.1:{page}", f"--page-token-file={state / PAGE_TOKEN_FILE}", f"--http=127.0.0.1:{http}"),
        *(f"--json-lines={state / 'lines.jsonl'}", "--log-level=debug"),
    ]


def _environment(endpoint: str) -> dict[str, str]:
    own = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return {**own, "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}
