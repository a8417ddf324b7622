"""The client behind the writers: the gate is checked just before the bytes leave, and every outcome has a name."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from kubernetes.aio.client import Configuration

from limpet_operator.sources.kube_error import ApiError
from limpet_operator.status.kube_writer import MERGE_PATCH, KubeWriter, NotSentError


class Server:
    """Answers as set, and records the requests."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, str, str, Any]] = []
        self.answer: Callable[[], web.Response] = lambda: web.json_response({"kind": "Thing"})
        self.delay_s = 0.0
        self.port = 0

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.text()
        sent = json.loads(body) if body else None
        self.seen.append((request.method, request.path_qs, request.headers.get("Content-Type", ""), sent))
        await asyncio.sleep(self.delay_s)
        return self.answer()


@pytest_asyncio.fixture
async def server() -> AsyncIterator[Server]:
    server = Server()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.port = runner.addresses[0][1]
    yield server
    await runner.cleanup()


@pytest_asyncio.fixture
async def api(server: Server) -> AsyncIterator[KubeWriter]:
    api = KubeWriter(Configuration(host=f"http://127.0.0.1:{server.port}"))
    yield api
    await api.close()


async def test_a_patch_is_sent_as_it_is(server: Server, api: KubeWriter) -> None:
    body = {"metadata": {"uid": "u"}, "status": {"price": None}}
    assert await api.call("PATCH", "/a?fieldManager=x", body, content_type=MERGE_PATCH) == {"kind": "Thing"}
    assert server.seen == [("PATCH", "/a?fieldManager=x", MERGE_PATCH, body)]


async def test_a_closed_gate_lets_nothing_through_and_the_next_one_passes(server: Server, api: KubeWriter) -> None:
    for _ in range(3):
        with pytest.raises(NotSentError):
            await api.call("PATCH", "/a", {"x": 1}, gate=lambda: False)
    assert server.seen == []
    await api.call("PATCH", "/a", {"x": 1}, gate=lambda: True)
    await api.call("GET", "/a")
    assert [seen[0] for seen in server.seen] == ["PATCH", "GET"]


async def test_the_gate_is_asked_after_the_connection_was_made(server: Server, api: KubeWriter) -> None:
    connected = asyncio.Event()
    checked: list[bool] = []

    async def slow_to_connect(_session: Any, _context: Any, _parameters: Any) -> None:
        connected.set()

    configuration = Configuration(host=f"http://127.0.0.1:{server.port}")
    api = KubeWriter(configuration)
    configuration.trace_configs[0].on_connection_create_end.append(slow_to_connect)

    def gate() -> bool:
        checked.append(connected.is_set())
        return False

    with pytest.raises(NotSentError):
        await api.call("PATCH", "/a", {"x": 1}, gate=gate)
    await api.close()
    assert checked == [True]


async def test_requests_at_the_same_time_each_have_their_own_gate(server: Server, api: KubeWriter) -> None:
    server.delay_s = 0.05
    outcomes = await asyncio.gather(
        *(api.call("PATCH", f"/{number}", {"x": 1}, gate=partial(bool, number % 2)) for number in range(20)),
        return_exceptions=True,
    )
    assert [isinstance(outcome, NotSentError) for outcome in outcomes] == [number % 2 == 0 for number in range(20)]
    assert sorted(int(path[1:]) for _, path, _, _ in server.seen) == list(range(1, 20, 2))


@pytest.mark.parametrize(
    ("status", "body", "headers", "reason", "retry_after_s"),
    [
        (409, {"reason": "Conflict", "message": "the object has been modified"}, {}, "Conflict", None),
        (409, {"reason": "AlreadyExists", "message": "there is one"}, {}, "AlreadyExists", None),
        (429, {"reason": "TooManyRequests", "message": "slow down"}, {"Retry-After": "3"}, "TooManyRequests", 3.0),
        (503, "not JSON", {"Retry-After": "soon"}, "", None),
        (500, ["not", "a", "Status"], {}, "", None),
    ],
)
async def test_a_refusal_says_why(
    server: Server,
    api: KubeWriter,
    status: int,
    body: Any,
    headers: dict[str, str],
    reason: str,
    retry_after_s: float | None,
) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    server.answer = lambda: web.Response(status=status, text=text, headers=headers)
    with pytest.raises(ApiError) as failed:
        await api.call("PATCH", "/a", {"x": 1})
    assert (failed.value.status, failed.value.reason, failed.value.retry_after_s) == (status, reason, retry_after_s)


async def test_an_answer_of_somebody_else_is_a_failure(server: Server, api: KubeWriter) -> None:
    server.answer = lambda: web.Response(text="<html>please log in</html>", content_type="text/html")
    with pytest.raises(ApiError, match=r"GET /a: the answer is not JSON") as failed:
        await api.call("GET", "/a")
    assert failed.value.status == 200


async def test_no_answer_is_an_outcome_too(server: Server, api: KubeWriter) -> None:
    server.delay_s = 5
    with pytest.raises(ApiError) as failed:
        await api.call("PATCH", "/a", {"x": 1}, timeout_s=0.05)
    assert failed.value.status is None
    unreachable = KubeWriter(Configuration(host="http://127.0.0.1:1"))
    with pytest.raises(ApiError) as failed:
        await unreachable.call("GET", "/a")
    assert failed.value.status is None
    await unreachable.close()
