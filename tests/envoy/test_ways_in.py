"""By which paths, versions of HTTP and addresses clients get in, and what is answered here."""

import json
import socket
import urllib.parse
from pathlib import Path

import openai
import pytest
from openai import AsyncOpenAI
from tests.envoy.cast import PLAIN, say
from tests.envoy.command import Command
from tests.envoy.raw import request, send
from tests.envoy.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_BODY = json.dumps({"model": PLAIN, "messages": [say("Hi")]}).encode()
_STREAM = json.dumps({"model": PLAIN, "stream": True, "messages": [say("Hi")]}).encode()


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions",
        "/v1/chat/completions/",
        "//v1//chat///completions//",
        "/chat/completions",
        "/v1/v1/chat/completions",
        "/v1/./chat/completions",
        "/v1/models/../chat/completions",
        "/v1/chat/completions?",
    ],
)
async def test_a_slash_or_a_v1_too_many_or_too_few_is_served(stage: Stage, path: str) -> None:
    await stage.serve("b")
    length = f"content-length: {len(_BODY)}"
    answer = await send(stage.origin, request("POST", path, length, body=_BODY))
    assert answer.status == 200, answer.body
    (arrival,) = await stage.arrivals("b")
    assert arrival.path.partition("?")[0] == "/b/v1/chat/completions", "the provider is asked as it wants to be"


@pytest.mark.parametrize(
    "path", ["/v1/models", "/v1/models/", "/models", "/v1/v1/models", "//v1/models", "/v1/models?limit=1"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_list_of_models_is_found_by_the_same_slips(stage: Stage, method: str, path: str) -> None:
    await stage.serve("a")
    answer = await send(stage.origin, request(method, path))
    assert answer.status == 200
    assert answer.headers["x-limpet-decision"] == "answered.models"
    assert method == "HEAD" or stage.model.encode() in answer.body


async def test_the_sdk_retrieves_a_model_however_it_writes_the_slash(stage: Stage) -> None:
    await stage.serve("a", "b")
    model = await stage.client.models.retrieve(stage.model)
    assert (model.id, model.object) == (stage.model, "model")
    for written in (stage.model, urllib.parse.quote(stage.model, safe=""), stage.model.replace("/", "%2f")):
        one = await stage.get(f"/v1/models/{written}")
        assert one.status == 200, written
        assert one.json["owned_by"] == f"{stage.provider('a')}, {stage.provider('b')}"
        assert one.headers["x-limpet-decision"] == "answered.models"


@pytest.mark.parametrize("name", ["no-such-model", "a%22b", "%00%ff", "%25s%1", "é", "x" * 3000])
async def test_a_model_that_is_not_served_is_a_404_like_that_of_a_request_for_it(stage: Stage, name: str) -> None:
    await stage.serve("a")
    answer = await send(stage.origin, request("GET", f"/v1/models/{name}"))
    if answer.headers["x-limpet-decision"] != "refused.malformed":
        assert answer.status == 404
        assert answer.error["code"] == "model_not_found"
        assert answer.error["param"] == "model"
        assert PLAIN in answer.error["message"]
    with pytest.raises(openai.NotFoundError):
        await stage.client.models.retrieve("no-such-model")


async def test_a_model_whose_name_is_odd_is_retrieved_too(stage: Stage) -> None:
    odd = 'a "b" é @ %41:free'
    await stage.serve("e", specs={"e": {"models": [{"name": stage.model}, {"name": odd}]}}, prices={"e": None})
    answer = await stage.get("/v1/models/" + urllib.parse.quote(odd, safe=""))
    assert answer.status == 200
    assert answer.json["id"] == odd


@pytest.mark.parametrize("path", ["/", "/healthz", "/v1", "/v1/"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_a_load_balancers_check_is_answered(stage: Stage, method: str, version: str, path: str) -> None:
    answer = await send(
        stage.origin, request(method, path, version=version, host="" if version == "1.0" else "localhost")
    )
    assert answer.status == 200
    assert answer.headers["x-limpet-decision"] == "answered.health"


@pytest.mark.parametrize("host", ["", "localhost"], ids=["no host", "host"])
@pytest.mark.parametrize("connection", ["close", "keep-alive"])
@pytest.mark.parametrize("body", [_BODY, _STREAM], ids=["whole", "streamed"])
async def test_http_1_0_is_served_as_a_proxy_in_front_may_speak_it(
    stage: Stage, body: bytes, connection: str, host: str
) -> None:
    await stage.serve("a")
    head = (f"content-length: {len(body)}", f"connection: {connection}")
    answer = await send(
        stage.origin, request("POST", "/v1/chat/completions", *head, body=body, version="1.0", host=host)
    )
    assert answer.status == 200
    assert answer.headers["x-limpet-provider"] == stage.provider("a")
    assert "transfer-encoding" not in answer.headers, "HTTP/1.0 knows no chunks"
    assert answer.body.startswith(b"data: ") or b'"choices"' in answer.body


def _ipv6() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


_needs_ipv6 = pytest.mark.skipif(not _ipv6(), reason="this machine has no IPv6 loopback")


@pytest.mark.parametrize(
    ("listen", "reached"),
    [
        pytest.param("[::1]", ("[::1]",), marks=_needs_ipv6),
        pytest.param("[::]", ("[::1]", "127.0.0.1"), marks=_needs_ipv6),
        pytest.param("localhost", ("[::1]", "127.0.0.1"), marks=_needs_ipv6),
        ("0.0.0.0", ("127.0.0.1",)),
    ],
)
async def test_either_family_and_a_name_can_be_listened_on(
    tmp_path: Path, listen: str, reached: tuple[str, ...]
) -> None:
    async with Command.up(tmp_path, listen=listen) as command:
        await command.says("Ctrl-C ends everything")
        greeted = next(line for line in command.lines if "OPENAI_BASE_URL" in line)
        async with AsyncOpenAI(base_url=greeted.partition("=")[2], api_key="x", max_retries=0) as client:
            assert [model async for model in client.models.list()] == []
        for host in reached:
            answer = await send(f"http://{host}:{command.port}", request("GET", "/healthz", host=host))
            assert answer.status == 200
