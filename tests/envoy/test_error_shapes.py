"""An error has the shape of the API that its client speaks, wherever it comes from; each SDK raises its own class."""

import json
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any

import anthropic
import openai
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from tests.envoy.cast import PLAIN, say
from tests.envoy.conftest import running_gateway, set_stage
from tests.envoy.every_api import SPEAKS, anything, body, upstream_path
from tests.envoy.raw import request, send
from tests.envoy.stage import Stage
from tests.envoy.upstream import HANG, RESET, Reply, Script, Upstream
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_JSON = {"content-type": "application/json"}
_OWN = {"type": "error", "error": {"type": "overloaded_error", "message": "Over"}, "request_id": "req_1"}
_THEIRS = {"error": {"message": 'Say "please"', "type": "invalid_request_error", "param": None, "code": None}}


def _anthropic_error(answer: Any) -> Mapping[str, Any]:
    assert set(answer) <= {"type", "error", "request_id"}, answer
    assert answer["type"] == "error"
    assert set(answer["error"]) in ({"type", "message"}, {"type", "message", "param", "code"}), "its own or for either"
    error: Mapping[str, Any] = answer["error"]
    return error


async def _ask_anthropic(stage: Stage, model: str | None = None) -> anthropic.types.Message:
    async with AsyncAnthropic(base_url=stage.origin, api_key=stage.key, max_retries=0) as client:
        return await client.messages.create(model=model or stage.model, max_tokens=9, messages=[say("Hi")])


_MODEL = f'{{"model": "{PLAIN}", "max_tokens": 9, "messages": []}}'.encode()
_MESSAGES = "/v1/messages"
_LENGTH = f"content-length: {len(_MODEL)}"
_VERSION = "anthropic-version: 2023-06-01"
_OWN_ANSWERS: dict[str, tuple[bytes, int, str, str]] = {
    "no body": (request("POST", _MESSAGES), 400, "invalid_request_error", "no body"),
    "an empty body": (request("POST", _MESSAGES, "content-length: 0"), 400, "invalid_request_error", "no body"),
    "a packed body": (
        request("POST", _MESSAGES, _LENGTH, "content-encoding: gzip", body=_MODEL),
        415,
        "invalid_request_error",
        "uncompressed",
    ),
    "a websocket": (
        request("GET", _MESSAGES, "connection: upgrade", "upgrade: websocket"),
        400,
        "invalid_request_error",
        "WebSocket",
    ),
    "headers too large": (
        request("POST", _MESSAGES, _LENGTH, "x-big: " + "a" * 70_000, body=_MODEL),
        431,
        "invalid_request_error",
        "60 KiB",
    ),
    "a wrong method": (request("GET", _MESSAGES), 405, "invalid_request_error", "Wrong method"),
    "an unknown path": (request("POST", "/v1/mesages", _VERSION), 404, "not_found_error", "POST /v1/messages?"),
    "a foreign page": (
        request("POST", _MESSAGES, _LENGTH, "origin: https://evil.example", body=_MODEL),
        403,
        "permission_error",
        "--cors-origin",
    ),
    "a foreign name": (
        request("POST", _MESSAGES, _LENGTH, host="evil.example", body=_MODEL),
        421,
        "invalid_request_error",
        "--allow-host",
    ),
    "an unknown model": (request("GET", "/v1/models/nobodys", _VERSION), 404, "not_found_error", "not served here"),
}


@pytest.mark.parametrize(("data", "status", "kind", "says"), _OWN_ANSWERS.values(), ids=_OWN_ANSWERS.keys())
async def test_the_gateways_own_refusals_have_anthropics_shape(
    stage: Stage, data: bytes, status: int, kind: str, says: str
) -> None:
    await stage.serve("a")
    answer = await send(stage.origin, data)
    assert (answer.status, answer.headers["content-type"]) == (status, "application/json")
    error = _anthropic_error(json.loads(answer.body))
    assert error["type"] == kind
    assert says in error["message"]
    assert answer.headers["x-limpet-decision"].startswith("refused.")


_FAILURES: dict[str, tuple[Script, type[anthropic.APIStatusError], str, str]] = {
    "503 of no shape": (
        lambda _: Reply(status=503, body=b"<html>busy</html>"),
        anthropic.InternalServerError,
        "overloaded_error",
        "busy",
    ),
    "a limit in its own shape": (
        lambda _: Reply(status=429, headers={**_JSON, "retry-after": "7"}, body=_OWN),
        anthropic.RateLimitError,
        "overloaded_error",
        "Over",
    ),
    "a limit in the other shape": (
        lambda _: Reply(status=429, headers=_JSON, body=_THEIRS),
        anthropic.RateLimitError,
        "rate_limit_error",
        'Say "please"',
    ),
    "a bad request in the other shape": (
        lambda _: Reply(status=400, headers=_JSON, body=_THEIRS),
        anthropic.BadRequestError,
        "invalid_request_error",
        'Say "please"',
    ),
    "a bad request in words": (
        lambda _: Reply(status=400, body=b"max_tokens is missing"),
        anthropic.BadRequestError,
        "invalid_request_error",
        "max_tokens is missing",
    ),
    "a refused credential": (
        lambda _: Reply(status=401, headers=_JSON, body=_OWN),
        anthropic.InternalServerError,
        "api_error",
        "own credential",
    ),
    "no answer": (lambda _: RESET, anthropic.InternalServerError, "overloaded_error", "no connection"),
    "silence": (lambda _: HANG, anthropic.InternalServerError, "timeout_error", "in time"),
}


@pytest.mark.parametrize(("script", "raises", "kind", "says"), _FAILURES.values(), ids=_FAILURES.keys())
async def test_a_failed_request_raises_what_anthropics_sdk_knows(
    stage: Stage, script: Script, raises: type[anthropic.APIStatusError], kind: str, says: str
) -> None:
    async with Upstream(script) as upstream:
        timeouts = {"unstreamed": "1s", "firstByte": "1s"}
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url, "timeouts": timeouts}})
        with pytest.raises(raises) as raised:
            await _ask_anthropic(stage)
    error = _anthropic_error(raised.value.body)
    assert error["type"] == kind
    assert says in error["message"]
    assert raised.value.response.headers["x-limpet-tried"].startswith(stage.provider("e"))


async def test_a_providers_own_error_reaches_its_client_as_it_came(stage: Stage) -> None:
    own = b'{ "type":"error","request_id":"req_1",  "error":{"message":"prompt is too long: 7 > 5","type":"x"}}'
    async with Upstream(lambda _: Reply(status=400, headers=_JSON, body=own)) as upstream:
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url}})
        assert (await stage.post(body(stage.model), path="/v1/messages")).body == own


async def test_all_that_failed_are_listed_within_the_most_telling_error(stage: Stage) -> None:
    limited = Reply(status=429, headers=_JSON, body=_OWN)
    async with Upstream(lambda _: limited) as first, Upstream(lambda _: RESET) as second:
        specs = {"a": {**SPEAKS, "url": first.url}, "e": {**SPEAKS, "url": second.url}}
        await stage.serve("a", "e", specs=specs)
        order = {"order": [stage.provider("a"), stage.provider("e")]}
        answer = await stage.post({**body(stage.model), "provider": order}, path="/v1/messages")
    assert answer.status == 429
    error = _anthropic_error(answer.json)
    assert error["type"] == "overloaded_error", "the provider's own"
    assert stage.provider("e") in error["message"]


async def test_an_unknown_model_is_not_found_by_either_sdk(stage: Stage) -> None:
    await stage.serve("e", specs={"e": {**SPEAKS, "url": stage.sellers["e"].base_url}})
    with pytest.raises(anthropic.NotFoundError, match="nobodys"):
        await _ask_anthropic(stage, "nobodys")
    with pytest.raises(openai.NotFoundError, match="nobodys") as raised:
        await stage.client.responses.create(model="nobodys", input="Hi")
    assert raised.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError, match="nobodys"):
        await stage.client.embeddings.create(model="nobodys", input="Hi")


async def test_a_body_that_is_too_large_is_told_so_in_the_shape_of_its_api(stage: Stage) -> None:
    await stage.serve("e", specs={"e": {**SPEAKS, "url": stage.sellers["e"].base_url}})
    answer = await stage.post(b" " * (33 << 20), path="/v1/messages")
    assert answer.status == 413
    assert _anthropic_error(answer.json)["type"] == "request_too_large"
    assert answer.headers["x-limpet-decision"] == "refused.too_large"


async def test_without_a_provider_either_sdk_is_told(stage: Stage) -> None:
    stage.gateway.apply(stage.planned([], {}))

    async def in_force() -> bool:
        return (await stage.post(body("m"))).status == 503

    await until(in_force, "a gateway without providers")
    with pytest.raises(anthropic.InternalServerError, match="No provider is configured") as told:
        await _ask_anthropic(stage)
    assert _anthropic_error(told.value.body)["type"] == "overloaded_error"
    with pytest.raises(openai.InternalServerError, match="No provider is configured") as raised:
        await stage.client.responses.create(model="m", input="Hi")
    assert raised.value.type == "server_error"


# The last of two flags counts: the operator that this worker looks for is a socket on which nobody listens.
_DEAF = (
    "import sys; from limpet_extproc.__main__ import main; "
    "main([*sys.argv[1:], '--control-plane=unix:/nonexistent.sock'])"
)


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=[False, True], ids=["metadata", "header"])
async def alone(
    request: pytest.FixtureRequest, numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> AsyncIterator[tuple[Stage, Upstream]]:
    """A gateway where nobody decides, and its only provider."""
    async with (
        running_gateway(header_mode=request.param, extproc=(sys.executable, "-c", _DEAF)) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
        Upstream(anything) as upstream,
    ):
        spec = {**SPEAKS, "url": upstream.url, "endpoints": ["embeddings", "files"]}
        stage.gateway.apply(stage.planned(stage.objects(["e"], {"e": spec}, {"e": None}), {}))

        async def served() -> bool:
            try:
                return (await stage.post(body(stage.model))).status == 200
            except OSError:
                return False

        await until(served, "the route")
        yield stage, upstream


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/responses", "/v1/embeddings"])
async def test_without_a_worker_every_api_goes_on_by_model(alone: tuple[Stage, Upstream], path: str) -> None:
    stage, upstream = alone
    upstream.got.clear()
    answer = await stage.post(body(stage.model), path=path)
    assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "fallback.undecided")
    assert upstream.got[0].target == upstream_path(path.removeprefix("/v1"))
    assert upstream.got[0].json["model"] == "flash.e"


_MULTIPART = b'--x\r\ncontent-disposition: form-data; name="model"\r\n\r\nplain\r\n--x--\r\n'
_UNDECIDABLE: dict[str, tuple[str, str, bytes | None, dict[str, str]]] = {
    "a response": ("GET", "/v1/responses/resp_1", None, {}),
    "a file": ("GET", "/v1/files/file_1", None, {}),
    "files": ("POST", "/v1/files", b"{}", {}),
    "what goes on from a response": (
        "POST",
        "/v1/responses",
        b'{"model": "plain", "previous_response_id": "resp_1", "input": ""}',
        {},
    ),
    "a form": ("POST", "/v1/embeddings", _MULTIPART, {"content-type": "multipart/form-data; boundary=x"}),
    "a model in the path": ("POST", "/openai/deployments/plain/embeddings", b'{"input": ""}', {}),
}


@pytest.mark.parametrize(("method", "path", "data", "headers"), _UNDECIDABLE.values(), ids=_UNDECIDABLE.keys())
@pytest.mark.parametrize("version", [{}, {"anthropic-version": "2023-06-01"}], ids=["OpenAI", "Anthropic"])
async def test_without_a_worker_what_only_one_provider_can_serve_waits(
    alone: tuple[Stage, Upstream],
    method: str,
    path: str,
    data: bytes | None,
    headers: dict[str, str],
    version: dict[str, str],
) -> None:
    stage, upstream = alone
    upstream.got.clear()
    async with stage.http.request(method, stage.origin + path, data=data, headers=headers | version) as response:
        answer = json.loads(await response.read())
        assert (response.status, response.headers["x-limpet-decision"]) == (503, "fallback.undecided")
    anthropic_speaker = bool(version) and "/responses" not in path
    error = _anthropic_error(answer) if anthropic_speaker else answer["error"]
    assert error["type"] == ("overloaded_error" if anthropic_speaker else "server_error")
    assert "Routing is temporarily unavailable" in error["message"]
    assert not upstream.got


async def test_without_a_worker_a_wrong_request_of_messages_has_their_shape(alone: tuple[Stage, Upstream]) -> None:
    stage, _ = alone
    with pytest.raises(anthropic.NotFoundError, match="No provider serves this model"):
        await _ask_anthropic(stage, "nobodys")
    answer = await stage.post(b"[]", path="/v1/messages")
    assert (answer.status, _anthropic_error(answer.json)["type"]) == (400, "invalid_request_error")
