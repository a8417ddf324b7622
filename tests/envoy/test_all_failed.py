"""All that were tried fail: the client gets the most telling error, and learns what came of each."""

import json
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, Final

import pytest
from tests.envoy.cast import say
from tests.envoy.stage import Raw, Stage
from tests.envoy.upstream import CLOSE, HANG, Reply, Script, Upstream, completion

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_QUICK: Final = {"connect": "200ms", "firstByte": "300ms", "unstreamed": "300ms", "idle": "5s"}


def _error(status: int, message: str = "No.", code: str = "x", **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    body = {"error": {"message": message, "type": "t", "param": None, "code": code}}
    return Reply(status, {"content-type": "application/json", **named}, body)


def _always(reply: Reply | str) -> Script:
    return lambda _: reply


@asynccontextmanager
async def _serving(stage: Stage, *scripts: Reply | str) -> AsyncIterator[list[Upstream]]:
    """Providers a, b and so on, each of which answers so."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream(_always(each))) for each in scripts]
        specs = {
            name: {"url": upstream.url, "timeouts": _QUICK} for name, upstream in zip("abc", upstreams, strict=False)
        }
        await stage.serve(*specs, specs=specs)
        yield upstreams


async def _ask(stage: Stage, upstreams: Sequence[Upstream], **fields: Any) -> Raw:
    order = [stage.provider(name) for name in "abc"[: len(upstreams)]]
    body = {"model": stage.model, "messages": [say("Anybody?")], "provider": {"order": order}}
    return await stage.post(body | fields)


@dataclass(frozen=True, slots=True)
class _Case:
    answers: tuple[Reply | str, ...]
    status: int
    code: str
    tried: str
    """Names of providers stand for theirs on the stage."""
    retry_after: str | None = None


_LIMITED: Final = _error(429, "Slow down.", "rate_limit_exceeded", retry_after="30")
_LIMITED_LONGER: Final = _error(429, "Slow down.", "rate_limit_exceeded", retry_after="90")
_TOO_LONG: Final = _error(400, "Too long by far.", "context_length_exceeded")
_CASES: Final = {
    "a refused key does not hide a limit": _Case(
        (_error(401), _LIMITED), 429, "rate_limit_exceeded", "a 401, b 429", "30"
    ),
    "whichever came first": _Case((_LIMITED, _error(401)), 429, "rate_limit_exceeded", "a 429, b 401", "30"),
    "the shortest wait of the limited ones": _Case(
        (_LIMITED, _error(429, code="rate_limit_exceeded"), _LIMITED_LONGER),
        429,
        "rate_limit_exceeded",
        "a 429, b 429, c 429",
        "30",
    ),
    "what the client can change says most": _Case(
        (_TOO_LONG, _LIMITED), 400, "context_length_exceeded", "a 400, b 429"
    ),
    "also where the last one gives no answer": _Case(
        (_TOO_LONG, CLOSE), 400, "context_length_exceeded", "a 400, b no connection"
    ),
    "a limit, where the last one gives no answer": _Case(
        (_LIMITED, _LIMITED_LONGER, CLOSE), 429, "rate_limit_exceeded", "a 429, b 429, c no connection", "30"
    ),
    "a limit, where the last one takes too long": _Case(
        (_LIMITED, HANG), 429, "rate_limit_exceeded", "a 429, b timeout", "30"
    ),
    "a timeout says more than a refused key": _Case((_error(403), HANG), 504, "provider_timeout", "a 403, b timeout"),
    "a refused key says more than a fault": _Case(
        (_error(401), _error(500)), 502, "provider_credential_refused", "a 401, b 500"
    ),
    "and more than no answer": _Case(
        (_error(402), CLOSE), 502, "provider_credential_refused", "a 402, b no connection"
    ),
    "no credit by the words of a 429": _Case(
        (_error(429, code="credit_balance_exhausted"), _error(500)),
        502,
        "provider_credential_refused",
        "a 429, b 500",
    ),
    "a limit that goes by 413": _Case(
        (_error(413, "Too many tokens per minute", "rate_limit_exceeded"),), 429, "rate_limit_exceeded", "a 413"
    ),
    "one that no wait would make small enough": _Case(
        (_error(413, "Request too large on tokens per minute (TPM)", "rate_limit_exceeded"),),
        413,
        "rate_limit_exceeded",
        "a 413",
    ),
    "faults alone": _Case((_error(500), _error(503, code="y")), 503, "y", "a 500, b 503"),
    "nobody there": _Case((CLOSE, CLOSE), 503, "no_provider_available", "a no connection, b no connection"),
    "a firewall's page is no word about our account": _Case(
        (Reply(403, {"content-type": "text/html"}, b"<html>You have been blocked"),),
        502,
        "no_provider_available",
        "a 403",
    ),
    "no access to a model": _Case((_error(403, code="model_not_found"),), 503, "no_provider_available", "a 403"),
    "a fault and nobody": _Case((_error(500), CLOSE), 503, "no_provider_available", "a 500, b no connection"),
    "HTML is none of the API's": _Case(
        (Reply(500, {"content-type": "text/html"}, b"<html>Oops"),), 500, "no_provider_available", "a 500"
    ),
}


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("case", _CASES.values(), ids=_CASES.keys())
async def test_the_most_telling_error_reaches_the_client_with_what_came_of_each(
    stage: Stage, case: _Case, stream: bool
) -> None:
    async with _serving(stage, *case.answers) as upstreams:
        answer = await _ask(stage, upstreams, stream=stream)
        told = answer.json["error"]
        tried = ", ".join(f"{stage.provider(each[0])}{each[1:]}" for each in case.tried.split(", "))
        assert (answer.status, told["code"]) == (case.status, case.code), answer
        assert answer.headers["x-limpet-tried"] == tried
        assert len(case.answers) == 1 or f"({tried})" in told["message"]
        assert answer.headers.get("retry-after") == case.retry_after
        assert answer.headers["content-type"] == "application/json"
        assert not {"x-envoy-ratelimited", "x-limpet-wait", "x-limpet-attempt"} & set(answer.headers)


@contextmanager
def _nobody_accepts() -> Iterator[str]:
    """The URL of a server whose queue of new connections is full."""
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(server.getsockname())
        yield f"http://127.0.0.1:{server.getsockname()[1]}/v1"


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_connection_that_does_not_come_about_in_time_is_no_timeout_of_an_answer(
    stage: Stage, stream: bool
) -> None:
    with _nobody_accepts() as url:
        await stage.serve("a", specs={"a": {"url": url, "timeouts": {"connect": "300ms"}}})
        answer = await stage.post({"model": stage.model, "messages": [say("Hello?")], "stream": stream})
        assert (answer.status, answer.json["error"]["code"]) == (503, "no_provider_available")
        assert answer.headers["x-limpet-tried"] == f"{stage.provider('a')} no connection"


async def test_one_providers_own_error_passes_byte_for_byte(stage: Stage) -> None:
    own = _error(429, "Slow down.", "rate_limit_exceeded", retry_after="7", retry_after_ms="6500")
    async with _serving(stage, own) as upstreams:
        answer = await _ask(stage, upstreams)
        assert json.loads(answer.body) == own.body
        assert (answer.headers["retry-after"], answer.headers["retry-after-ms"]) == ("7", "6500")
        assert answer.headers["x-limpet-tried"] == f"{stage.provider('a')} 429"


async def test_a_message_that_is_hard_to_quote_stays_what_it_was(stage: Stage) -> None:
    hard = 'C:\\dir "quoted" \\" ü \U0001f41a 100 % %DURATION% \n end\\'
    async with _serving(stage, _error(413, hard), CLOSE) as upstreams:
        told = (await _ask(stage, upstreams)).json["error"]["message"]
        assert told == f"{hard} ({stage.provider('a')} 413, {stage.provider('b')} no connection)"
    async with _serving(stage, _error(413, hard), _error(500)) as upstreams:
        told = (await _ask(stage, upstreams)).json["error"]["message"]
        assert told == f"{hard} ({stage.provider('a')} 413, {stage.provider('b')} 500)"


@pytest.mark.parametrize(
    "message",
    [b"\xff", b"caf\xe9", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x00"],
    ids=lambda each: each.hex(),
)
async def test_an_error_that_is_no_text_is_told_all_the_same_and_loses_no_log_entry(
    stage: Stage, message: bytes
) -> None:
    broken = Reply(413, {"content-type": "application/json"}, b'{"error": {"message": "Too long ' + message + b'"}}')
    async with _serving(stage, broken, CLOSE) as upstreams:
        answer = await _ask(stage, upstreams)
        assert (answer.status, answer.json["error"]["type"]) == (413, "invalid_request_error")
        assert answer.json["error"]["message"].startswith("Too long ")
        await stage.settle()


def _in_fifty_minutes() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(minutes=50), usegmt=True)


@pytest.mark.parametrize(
    ("asked", "least", "most", "says"),
    [
        ("12", 12, 12, ""),
        ("1.2", 2, 2, ""),
        (_in_fifty_minutes, 2900, 3000, ""),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0, 0, ""),
        ("99999999", 86400, 86400, "429 with retry-after 99999999 capped"),
        ("Wed, 21 Oct 2099 07:28:00 GMT", 86400, 86400, "capped"),
        ('"}} 21 Oct 2099 07:28:00 \\', 86400, 86400, "capped"),
    ],
)
async def test_a_retry_after_reaches_the_client_in_seconds_and_within_reason(
    stage: Stage, asked: str | Callable[[], str], least: int, most: int, says: str
) -> None:
    async with _serving(stage, _error(429, retry_after=asked if isinstance(asked, str) else asked())) as upstreams:
        answer = await _ask(stage, upstreams)
        assert least <= int(answer.headers["retry-after"]) <= most
        assert says in answer.json["error"]["message"]


@pytest.mark.parametrize("asked", ["soon", "-5", "Wed, 99 Foo 2099 07:28:00 GMT", "\xff", "nan", "1e9"])
async def test_a_retry_after_that_says_nothing_is_left_out(stage: Stage, asked: str) -> None:
    async with _serving(stage, _error(429, retry_after=asked)) as upstreams:
        answer = await _ask(stage, upstreams)
        assert (answer.status, answer.headers.get("retry-after")) == (429, None)


async def test_of_two_retry_afters_the_first_counts_and_milliseconds_where_there_is_none(stage: Stage) -> None:
    body = _error(429).body
    twice = Reply(429, [("content-type", "application/json"), ("retry-after", "7"), ("retry-after", "60")], body)
    for reply, seconds in ((twice, "7"), (_error(429, retry_after_ms="1500"), "2")):
        async with _serving(stage, reply) as upstreams:
            answer = await _ask(stage, upstreams)
            assert (answer.status, answer.headers["retry-after"]) == (429, seconds)


async def test_a_provider_that_asks_for_milliseconds_is_left_alone_for_so_long(stage: Stage) -> None:
    async with _serving(stage, _error(429, retry_after_ms="60000"), completion()) as upstreams:
        for _ in range(3):
            assert (await _ask(stage, upstreams)).status == 200
            await stage.settle()
        assert [len(each.got) for each in upstreams] == [1, 3]


async def test_a_header_that_chooses_one_provider_tells_of_that_one(header_stage: Stage) -> None:
    async with _serving(header_stage, _error(401)) as upstreams:
        answer = await _ask(header_stage, upstreams)
        assert (answer.status, answer.json["error"]["code"]) == (502, "provider_credential_refused")
        assert answer.headers["x-limpet-tried"] == f"{header_stage.provider('a')} 401"
    async with _serving(header_stage, CLOSE) as upstreams:
        answer = await _ask(header_stage, upstreams)
        assert (answer.status, answer.json["error"]["code"]) == (503, "no_provider_available")
        assert answer.headers["x-limpet-tried"] == f"{header_stage.provider('a')} no connection"
    async with _serving(header_stage, HANG) as upstreams:
        answer = await _ask(header_stage, upstreams)
        assert (answer.status, answer.json["error"]["code"]) == (504, "provider_timeout")
        assert answer.headers["x-limpet-tried"] == f"{header_stage.provider('a')} timeout"
