"""`limpet up DIR`: the local gateway follows a directory of YAML until it is stopped."""

import asyncio
import json
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from prometheus_client import start_http_server

from limpet_extproc.contract.apis import DialectName
from limpet_extproc.contract.client_keys import ClientKeysMode
from limpet_operator.laptop import client_keys, keys_file
from limpet_operator.laptop.children import ChildDied
from limpet_operator.laptop.listen import CannotStart, find_listen_address
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.price_news import PriceNews
from limpet_operator.laptop.validate import lines_of, render_line
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.probe.view import ProbeResult
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.serve.garbage import freeze_what_exists
from limpet_operator.serve.tasks import beside, first_of
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore
from limpet_operator.status.health import ProviderHealth
from limpet_operator.status.health_lines import health_lines, told_after
from limpet_operator.status.probing import rejection

Say = Callable[[str], None]

_TIME: Final = "%H:%M:%S"
_METRICS_FLAG: Final = "--metrics-port PORT, the first of two"
SETTLE_S: Final = 0.5
"""From a change of a provider to the line about it: what changes twice within this time is one line."""
SAY_AFTER_S: Final = 0.2
"""From a change to the lines about it."""


class Directory:
    """A directory of YAML as plans: one now, and one for every change. Reports once what is wrong or has no effect."""

    def __init__(self, path: Path, say: Say, parser: Parser | None = None, keys_path: Path | None = None) -> None:
        """`keys_path`: a further file, with keys of clients."""
        self._path = path
        self._keys_path = keys_path
        self._say = say
        self._parser = parser or Parser.load()
        self._store = FileStore(self._parser)
        self._scan = files.scan(path)
        if keys_path is not None and not keys_path.exists():
            raise FileNotFoundError(f"there is no file {keys_path}, which --client-keys names")
        self._keys_scan = files.scan(keys_path) if keys_path is not None else files.Scan({})
        self._keys_last = keys_file.readable(self._keys_scan.documents) or ()
        self._store.replace(self._documents())
        self.plan: Plan = plan(self._store.objects, os.environ)
        self._reported: frozenset[str] = frozenset()
        self._report_later: asyncio.TimerHandle | None = None
        self.report_problems()

    @property
    def pricings(self) -> Iterable[Pricing]:
        """Those that can be read, in force or not."""
        return self._store.objects.of(Pricing)

    async def follow(self, apply: Callable[[Plan], None]) -> None:
        """Apply the plan of every further change, for ever."""
        following = [self._follow_objects(apply)]
        if self._keys_path is not None:
            following.append(self._follow_keys(self._keys_path, apply))
        await first_of(*following)

    async def _follow_objects(self, apply: Callable[[Plan], None]) -> None:
        async for scan in files.watch(self._path, self._scan, lambda: self._report_missing(self._path)):
            self._scan = scan
            self._changed(apply)

    async def _follow_keys(self, path: Path, apply: Callable[[Plan], None]) -> None:
        async for scan in files.watch(path, self._keys_scan, lambda: self._report_missing(path)):
            self._keys_scan = await keys_file.settled(path, scan)
            read = keys_file.readable(self._keys_scan.documents)
            self._keys_last = self._keys_last if read is None else read
            self._changed(apply)

    def _documents(self) -> Iterator[files.Document]:
        yield from self._scan.documents
        yield from client_keys.documents(keys_file.with_last(self._keys_scan.documents, self._keys_last))

    def _changed(self, apply: Callable[[Plan], None]) -> None:
        if self._store.replace(self._documents()):
            self.plan = plan(self._store.objects, os.environ, self.plan)
            apply(self.plan)
        # Envoy and ext_proc come first: wording the problems of a thousand objects blocks this loop.
        if self._report_later is not None:
            self._report_later.cancel()
        self._report_later = asyncio.get_running_loop().call_later(SAY_AFTER_S, self.report_problems)

    def _report_missing(self, path: Path) -> None:
        self._say(f"{path} is gone; what was read last goes on being served until it is there again")

    def report_problems(self) -> None:
        """Say what is wrong, has no effect or is stale by now, where that was not said, and what is so no longer."""
        checked = lines_of(self._store.readings, self.plan, datetime.now(UTC))
        lines = frozenset(render_line(line) for line in checked if line.status in ("BAD", "note"))
        for line in sorted(lines - self._reported):
            self._say(line)
        for line in sorted(self._reported - lines):
            self._say(f"{time.strftime(_TIME)}  no longer so: {line.splitlines()[0]}")
        self._reported = lines


async def up(path: Path, settings: LocalSettings, metrics_port: int, say: Say, keys_path: Path | None = None) -> int:
    """Run until SIGINT or SIGTERM (status 0), or until something is in the way or dies (status 1, with the reason)."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        directory = Directory(path, say, keys_path=keys_path)
        for port in (metrics_port, metrics_port + 1) if metrics_port else ():
            find_listen_address("127.0.0.1", port, _METRICS_FLAG)
        loop = asyncio.get_running_loop()
        news = HealthNews(say, lambda report: loop.call_later(SETTLE_S, report))
        prices = PriceNews(say, directory.report_problems, time.time)
        prices.changed(directory.pricings, directory.plan)

        def apply(new: Plan) -> None:
            gateway.apply(new)
            prices.changed(directory.pricings, new)
            say(f"{time.strftime(_TIME)}  changed: {'; '.join(filter(None, (summary(new), probes_summary(new))))}")

        async with LocalGateway(replace(settings, on_health=news.providers, on_probes=news.probes)) as gateway:
            gateway.apply(directory.plan)
            async with beside(directory.follow(apply)) as following:
                await gateway.ready()
                freeze_what_exists()
                if metrics_port:
                    _serve_metrics(metrics_port, gateway)
                page = await _activity_page(gateway, stopped)
                keys_mode, shown = settings.client_keys, prices.look()
                for line in greeting(
                    directory.plan, gateway.base_url, settings.host, metrics_port, shown, keys_mode, page
                ):
                    say(line)
                await first_of(asyncio.wait({following}), gateway.running(say), prices.run(), stopped.wait())
                news.end()
    except (CannotStart, ChildDied, FileNotFoundError) as error:
        say(f"limpet up: {error}")
        return 1
    return 0


async def _activity_page(gateway: LocalGateway, stopped: asyncio.Event) -> str:
    """The link to it, when it can be followed or has had the time to start; empty: there is none."""
    if gateway.settings.activity is None:
        return ""
    shown = False

    async def look() -> None:
        nonlocal shown
        shown = await gateway.shows_activity()

    await first_of(look(), stopped.wait())
    return gateway.settings.activity.link + ("" if shown else "   (it does not answer yet)")


def _serve_metrics(port: int, gateway: LocalGateway) -> None:
    try:
        start_http_server(port, "127.0.0.1", gateway.registry)
    except OSError as error:
        # Since the command began, another process has taken it.
        message = f"cannot listen on 127.0.0.1:{port}: {error.strerror}. Choose another with {_METRICS_FLAG}"
        raise CannotStart(message) from error


class HealthNews:
    """Says how providers and probes are doing otherwise than was said last, once a change has settled."""

    def __init__(self, say: Say, later: Callable[[Callable[[], None]], object]) -> None:
        """`later(report)` calls `report` after SETTLE_S."""
        self._say = say
        self._later = later
        self._waiting = self._ended = False
        self._told: Mapping[str, ProviderHealth] = {}
        self._now: Mapping[str, ProviderHealth] = {}
        self._rejections: Mapping[tuple[ObjectKey, str], str] = {}
        self._rejections_told: Mapping[tuple[ObjectKey, str], str] = {}

    def providers(self, now: Mapping[str, ProviderHealth]) -> None:
        """They are doing so now."""
        self._now = now
        self._wait()

    def probes(self, now: Mapping[ObjectKey, Sequence[ProbeResult]]) -> None:
        """The HealthProbes find this now."""
        self._rejections = {
            (key, each.provider): rejection(each) for key, results in now.items() for each in results if each.rejected
        }
        self._wait()

    def end(self) -> None:
        """Say nothing more."""
        self._ended = True

    def _wait(self) -> None:
        if not self._waiting:
            self._waiting = True
            self._later(self._report)

    def _report(self) -> None:
        self._waiting = False
        if self._ended:
            return
        for line in health_lines(self._told, self._now):
            self._say(f"{time.strftime(_TIME)}  {line.text}")
        self._told = told_after(self._told, self._now)
        for subject, text in self._rejections.items():
            if subject not in self._rejections_told:
                self._say(f"{time.strftime(_TIME)}  {subject[0]} (ProbeRejected): {text}")
        self._rejections_told = self._rejections


def greeting(
    now: Plan,
    base_url: str,
    host: str,
    metrics_port: int,
    price_lines: Sequence[str] = (),
    keys_mode: ClientKeysMode = "Off",
    page: str = "",
) -> Iterator[str]:
    """What a user needs to begin, line by line. Only models that some provider serves are promised.

    `page`: the link to the activity page.
    """
    messages = _models(now, "AnthropicMessages")
    yield f"Limpet routes {summary(now)}. Point any {'OpenAI or Anthropic' if messages else 'OpenAI'} SDK at it:"
    yield ""
    yield f"  export OPENAI_BASE_URL={base_url}"
    if keys_mode == "Required":
        yield "  export OPENAI_API_KEY=lpk-…       # the key of a client of this gateway; providers never see it"
    else:
        about = "tells conversations of different users apart; providers never see it"
        yield f"  export OPENAI_API_KEY=anything    # {about}"
    if messages:
        yield f"  export ANTHROPIC_BASE_URL={base_url.removesuffix('/v1')}"
        yield f"  export ANTHROPIC_API_KEY={'lpk-…' if keys_mode == 'Required' else 'anything'}"
    yield ""
    if models := _models(now, "OpenAIChat"):
        body = json.dumps({"model": models[0], "messages": [{"role": "user", "content": "Hello"}]})
        quoted = shlex.quote(body)
        key = ' -H "authorization: Bearer $OPENAI_API_KEY"' if keys_mode == "Required" else ""
        yield f"  curl -i {base_url}/chat/completions{key} -H 'content-type: application/json' -d {quoted}"
        yield ""
    if now.probes:
        yield f"{probes_summary(now)}."
        yield ""
    if price_lines:
        yield from price_lines
        yield ""
    if page:
        yield f"What every request did and cost: {page}"
    if metrics_port:
        yield f"Metrics: http://127.0.0.1:{metrics_port}/metrics and http://127.0.0.1:{metrics_port + 1}/metrics"
    yield from client_keys.greeting_lines(now, keys_mode)
    if not _loopback(host) and (caution := client_keys.caution(host, keys_mode)):
        yield caution
    yield "Ctrl-C ends everything."


def _models(now: Plan, dialect: DialectName) -> list[str]:
    """Those that clients can ask for by this API, sorted."""
    serving = (each.spec for each in now.providers if dialect in (*each.spec.dialects, *each.spec.translated))
    return sorted({model.name for spec in serving for model in spec.models})


def summary(now: Plan) -> str:
    """How many models are served, and by which providers."""
    names = [provider.name for provider in now.providers if provider.served]
    models = {model.name for provider in now.providers if provider.served for model in provider.spec.models}
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"{_counted(len(models), 'model')} over {_counted(len(names), 'provider')} ({shown or 'none yet'})"


def probes_summary(now: Plan) -> str:
    """How many providers are probed; empty: none is."""
    probed = {target.provider for probe in now.probes for target in probe.targets}
    return f"{_counted(len(now.probes), 'HealthProbe')} over {_counted(len(probed), 'provider')}" if probed else ""


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _loopback(host: str) -> bool:
    """Any name but `localhost` counts as reachable from elsewhere."""
    try:
        return ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
