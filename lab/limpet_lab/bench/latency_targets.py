"""The three ways to the same fast upstream: directly, through a plain Envoy, and through Limpet. All on loopback.

The upstream is an Envoy that reads the whole request and answers it itself, so it is the same for all and never the
bottleneck. The plain Envoy has the listener, buffer and routing of ours, without anything that makes it Limpet: what it
adds is the price of a proxy, and the rest is ours.
"""

import asyncio
import http.client
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from limpet_lab.bed import Bed, Object, policy_object
from limpet_lab.bench.latency_load import CLIENT_KEY, DIALECTS, MODEL, answer
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.children import Children
from limpet_operator.laptop.listen import CannotStart
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import envoy_command, free_port
from limpet_operator.publish.encode import Json, set_header, typed
from limpet_operator.resources.client_keys import LABEL
from limpet_operator.resources.objects import Parser

TARGETS: Final = ("direct", "envoy", "limpet")
PROVIDERS: Final = 3

_HOST: Final = "127.0.0.1"
_MIB: Final = 1024 * 1024
_READY_S: Final = 30.0
_BODY_LIMIT: Final = 32 * _MIB
_NEVER_FULL: Final = 1_000_000
_MODELS_EACH: Final = 500


@dataclass(frozen=True, slots=True)
class Targets:
    """What runs: a URL for each of TARGETS, process ids by part, and where ext_proc shows its metrics."""

    urls: Mapping[str, str]
    pids: Mapping[str, int]
    """Parts: `upstream`, `envoy` (the plain one), `limpet` (ours) and `extproc`."""
    extproc_metrics_port: int


@asynccontextmanager
async def running(folder: Path, *, concurrency: int, rename: bool) -> AsyncIterator[Targets]:
    """All of them, ready and answering; everything has ended when the block ends.

    `concurrency`: threads of the upstream and of the plain Envoy. Limpet's has as many as `limpet up` gives it.
    `rename`: the providers call the model differently, so every body is changed on its way.
    Raises CannotStart or ChildDied.
    """
    children = Children(folder)
    upstream_port, plain_port, metrics_port = free_port(), free_port(), free_port()
    settings = LocalSettings(port=free_port(), extproc_metrics_port=metrics_port)
    try:
        await start_envoy(children, "upstream", upstream_config(upstream_port), concurrency, upstream_port)
        await start_envoy(children, "envoy", plain_config(plain_port, upstream_port), concurrency, plain_port)
        async with LocalGateway(settings) as gateway:
            Bed(Sellers([]), gateway, Parser.load()).apply(configuration(upstream_port, rename=rename))
            await gateway.ready()
            targets = Targets(
                {"direct": chat_url(upstream_port), "envoy": chat_url(plain_port), "limpet": chat_url(settings.port)},
                {
                    "upstream": children.pid("upstream"),
                    "envoy": children.pid("envoy"),
                    "limpet": gateway.children.pid("envoy"),
                    "extproc": gateway.children.pid("ext_proc"),
                },
                metrics_port,
            )
            yield targets
    finally:
        await children.stop()


def configuration(
    upstream_port: int,
    *,
    rename: bool,
    providers: int = PROVIDERS,
    models: Sequence[str] = (MODEL,),
    one_price: bool = False,
) -> list[Object]:
    """Sellers at near-equal prices, all of them the upstream, as a user would write them.

    `providers`: how many sell each model. A Provider lists 512 models at most, so many models have more sellers.
    `one_price`: all sell at the same, as accounts or regions of one vendor do.
    """
    objects: list[Object] = [policy_object()]
    groups = [models[at : at + _MODELS_EACH] for at in range(0, len(models), _MODELS_EACH)]
    for number, (group, rank) in enumerate(product(groups, range(providers))):
        name = f"seller-{number}"
        renamed = {"upstreamName": "open-model-renamed"} if rename else {}
        spec = {
            "vendor": "DeepSeek",
            "url": f"http://{_HOST}:{upstream_port}/v1",
            "credential": {"secretRef": {"name": name, "key": "api-key"}},
            "models": [{"name": model, **renamed} for model in group],
        }
        more = 0.0 if one_price else 0.03 * rank / providers
        prices = {"input": f"{0.50 + more:.4f}", "cacheRead": "0.05", "output": "1.50"}
        priced = [{"name": model, "perMillionTokens": prices} for model in group]
        pricing = {"providerRef": {"name": name}, "models": priced}
        objects += [
            _object("limpet.dev/v1alpha1", "Provider", name, spec=spec),
            _object("v1", "Secret", name, stringData={"api-key": f"key-{number}"}),
            _object("limpet.dev/v1alpha1", "Pricing", name, spec=pricing),
        ]
    return objects


def client_keys() -> list[Object]:
    """The client whose key the load sends, with every limit, none of which is ever reached."""
    entry = {"key": CLIENT_KEY, "requestsPerMinute": 10**11, "tokensPerMinute": 10**11, "usdPerDay": 1e9}
    secret = _object("v1", "Secret", "clients", stringData={"bench": json.dumps(entry)})
    return [{**secret, "metadata": {"name": "clients", "labels": {LABEL: "true"}}}]


def chat_url(port: int) -> str:
    """Chat completions at this port."""
    return f"http://{_HOST}:{port}{DIALECTS['chat']}"


def ask(url: str, body: bytes, **headers: str) -> tuple[int, Mapping[str, str]]:
    """Send one request and read the answer: its status and its headers, whose names are lower case.

    `headers`: further ones of the request, with `_` for `-`.
    """
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    try:
        sent = {
            "content-type": "application/json",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        }
        connection.request("POST" if body else "GET", parts.path, body or None, sent)
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def upstream_config(port: int) -> Json:
    """The Envoy that answers every request once it has read it."""
    routes: list[Json] = [
        {
            # A vendor may have a dialect under a path of its own.
            "match": {"safe_regex": {"regex": ".*" + path.removeprefix("/v1")}},
            "direct_response": {"status": 200, "body": {"inline_string": answer(dialect).decode()}},
            "response_headers_to_add": [set_header("content-type", "application/json")],
        }
        for dialect, path in DIALECTS.items()
    ]
    return {"static_resources": {"listeners": [_listener(port, *routes)]}}


def plain_config(port: int, upstream_port: int) -> Json:
    """An Envoy that only proxies to the upstream."""
    address = {"socket_address": {"address": _HOST, "port_value": upstream_port}}
    limits = ("max_connections", "max_pending_requests", "max_requests", "max_retries")
    cluster = {
        "name": "upstream",
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": "upstream",
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "circuit_breakers": {"thresholds": [dict.fromkeys(limits, _NEVER_FULL)]},
    }
    route = {
        "match": {"prefix": "/"},
        "request_body_buffer_limit": _BODY_LIMIT,
        "route": {"cluster": "upstream", "timeout": "0s", "idle_timeout": "0s"},
    }
    return {"static_resources": {"listeners": [_listener(port, route)], "clusters": [cluster]}}


def _listener(port: int, *routes: Json) -> Json:
    manager = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="bench",
        stream_idle_timeout="0s",
        request_headers_timeout="30s",
        request_timeout="300s",
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [*routes]}]},
        http_filters=[
            {
                "name": "envoy.filters.http.buffer",
                "typed_config": typed("filters.http.buffer.v3.Buffer", max_request_bytes=_BODY_LIMIT),
            },
            {
                "name": "envoy.filters.http.router",
                "typed_config": typed("filters.http.router.v3.Router", suppress_envoy_headers=True),
            },
        ],
    )
    return {
        "name": "bench",
        "address": {"socket_address": {"address": _HOST, "port_value": port}},
        "per_connection_buffer_limit_bytes": _MIB,
        "filter_chains": [
            {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": manager}]}
        ],
    }


async def start_envoy(children: Children, name: str, config: Json, concurrency: int, port: int) -> None:
    """Return when it listens on this port. Raises CannotStart."""
    path = children.log_dir / f"{name}.json"
    path.write_text(json.dumps(config))
    await children.start(name, envoy_command(path, "--concurrency", str(concurrency)))
    try:
        await children.until(_listening(port), _READY_S)
    except TimeoutError:
        raise CannotStart(
            f"the {name} Envoy is not ready after {_READY_S:.0f} s on a busy machine: try again later"
        ) from None


async def _listening(port: int) -> None:
    while not await _accepts(port):  # noqa: ASYNC110
        await asyncio.sleep(0.02)


async def _accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(_HOST, port)
    except OSError:
        return False
    writer.close()
    return True


def _object(api: str, kind: str, name: str, **rest: Any) -> Object:
    return {"apiVersion": api, "kind": kind, "metadata": {"name": name}, **rest}
