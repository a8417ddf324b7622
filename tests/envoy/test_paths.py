"""A path is served however a client writes it, and goes on as its provider has it."""

import json
from urllib.parse import quote

import pytest
from openai import AsyncAzureOpenAI
from tests.contract.test_apis import WRITTEN
from tests.envoy.cast import say
from tests.envoy.every_api import SPEAKS, anything, body, upstream_path
from tests.envoy.stage import Stage
from tests.envoy.upstream import Reply, Upstream, completion

from limpet_extproc.contract.apis import MESSAGE_BATCHES, OBJECTS, api_of
from limpet_operator.publish.paths import KNOWN

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_SERVED = {*SPEAKS["dialects"], *SPEAKS["endpoints"]}
_POSTED = {
    path: found.path
    for path, found in WRITTEN.items()
    if (api := api_of(found.path)) is not None and api.kind != "object" and api.name in _SERVED
}
_SENT = [path for path in _POSTED if "beta" not in path and "deployments" not in path]


@pytest.mark.parametrize("path", _POSTED)
async def test_every_way_to_write_a_path_reaches_the_providers_own(stage: Stage, path: str) -> None:
    async with Upstream(anything) as upstream:
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url}})
        model, served = WRITTEN[path].model, quote(stage.model, safe="")
        written = path.replace(quote(model) or "-", served).replace(quote(model, safe="") or "-", served)
        answer = await stage.post(body(stage.model), path=written)
        assert (answer.status, answer.headers.get("x-limpet-provider")) == (200, stage.provider("e")), answer.body
        assert upstream.got[0].target.partition("?")[0] == upstream_path(_POSTED[path])


async def test_header_mode_serves_them_as_well(header_stage: Stage) -> None:
    stage = header_stage
    async with Upstream(anything) as upstream:
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url}})
        for path in _SENT:
            assert (await stage.post(body(stage.model), path=path)).status == 200, path
        assert [got.target for got in upstream.got] == [upstream_path(_POSTED[path]) for path in _SENT]


async def test_a_url_with_a_query_keeps_it_and_anthropics_parameter_passes(stage: Stage) -> None:
    async with Upstream(anything) as upstream:
        await stage.serve(
            "e", specs={"e": {**SPEAKS, "vendor": "Anthropic", "url": f"{upstream.url}?api-version=preview"}}
        )
        await stage.post(body(stage.model), path="/v1/messages?beta=true&key=secret")
        assert upstream.got[0].target == "/anthropic/v1/messages?api-version=preview&beta=true"


async def test_another_provider_gets_its_own_path_at_the_next_attempt(stage: Stage) -> None:
    async with Upstream(lambda _: Reply(status=503)) as first, Upstream(anything) as second:
        specs = {
            "a": {**SPEAKS, "url": first.url},
            "e": {**SPEAKS, "url": f"http://127.0.0.1:{second.port}/x", "paths": {}},
        }
        await stage.serve("a", "e", specs=specs)
        steered = {**body(stage.model), "provider": {"order": [stage.provider("a"), stage.provider("e")]}}
        assert (await stage.post(steered, path="/v1/messages")).status == 200
        assert [got.target for got in (*first.got, *second.got)] == ["/anthropic/v1/messages", "/x/messages"]


_UNSERVED: dict[str, tuple[str, str, int, str | None, str]] = {
    "a typo": ("POST", "/v1/embedings", 404, "Did you mean POST /v1/embeddings?", "refused.unknown_path"),
    "a word less": ("POST", "/v1/completions/chat", 404, None, "refused.unknown_path"),
    "nothing near": ("POST", "/v1/zzzzzzzzzzzzzzz", 404, None, "refused.unknown_path"),
    "an API that nobody lists": (
        "POST",
        "/v1/audio/speech",
        404,
        "lists 'audio' in spec.endpoints",
        "refused.unknown_path",
    ),
    "files": ("GET", "/v1/files", 404, "account", "refused.unknown_path"),
    "a file": ("POST", "/openai/v1/files/", 404, "account", "refused.unknown_path"),
    "batches of messages": ("POST", "/v1/messages/batches", 404, "list 'message_batches' in", "refused.unknown_path"),
    "part of a response": ("GET", "/v1/responses/x/nope", 404, "mean GET /v1/responses/{id}?", "refused.unknown_path"),
    "a base URL too short": ("POST", "/api/chat", 404, "The base_url should end in /v1", "refused.unknown_path"),
    "realtime": ("GET", "/v1/realtime?model=x", 404, "WebSocket", "refused.websocket"),
    "a realtime session": ("POST", "/v1/realtime/client_secrets", 404, "WebSocket", "refused.websocket"),
    "messages to read": ("GET", "/v1/messages", 405, "is asked with POST, not with GET.", "refused.method"),
    "embeddings to delete": ("DELETE", "/v1/embeddings", 405, "Wrong method", "refused.method"),
    "a response to replace": (
        "PUT",
        "/v1/responses/resp_1",
        405,
        "with GET or HEAD or DELETE, not with PUT.",
        "refused.method",
    ),
    "a cancellation to read": ("GET", "/v1/responses/resp_1/cancel", 405, "Wrong method", "refused.method"),
}


@pytest.mark.parametrize(("method", "path", "status", "says", "decision"), _UNSERVED.values(), ids=_UNSERVED.keys())
@pytest.mark.parametrize("version", ["", "2023-06-01"], ids=["OpenAI", "Anthropic"])
async def test_what_is_not_served_is_told_so_in_the_clients_own_shape(
    stage: Stage, method: str, path: str, status: int, says: str | None, decision: str, version: str
) -> None:
    async with Upstream(anything) as upstream:
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url}})
        headers = {"anthropic-version": version} if version else {}
        async with stage.http.request(method, stage.origin + path, headers=headers) as response:
            answer = json.loads(await response.read())
            assert (response.status, response.headers["x-limpet-decision"]) == (status, decision)
            allowed = "GET, HEAD, DELETE" if path == "/v1/responses/resp_1" else "POST"
            assert response.headers.get("allow") == (allowed if status == 405 else None)
        anthropic = "/messages" in path or (version and "/responses" not in path)
        assert set(answer) == ({"type", "error"} if anthropic else {"error"})
        if anthropic:
            assert answer["error"]["type"] == ("not_found_error" if status == 404 else "invalid_request_error")
        else:
            assert set(answer["error"]) == {"message", "type", "param", "code"}
        message = answer["error"]["message"]
        assert (says or "") in message
        assert "Did you mean" in message or says != _UNSERVED["a typo"][3]
        assert path.partition("?")[0] in message
        assert ("base_url" in message) == (path == "/api/chat")
        assert len(message) < 300
        assert not upstream.got


async def test_azures_sdk_names_the_deployment_in_the_path(stage: Stage) -> None:
    async with Upstream(lambda _: completion()) as upstream:
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url}})
        client = AsyncAzureOpenAI(
            azure_endpoint=stage.origin, api_version="2025-01-01", api_key=stage.key, max_retries=0, timeout=60
        )
        async with client:
            await client.chat.completions.create(model="plain", messages=[say("Hi")])
        written = f"/openai/deployments/{quote(stage.model, safe='')}/chat/completions?api-version=2025-01-01"
        assert (await stage.post({"messages": [say("Hi")]}, path=written)).status == 200
        assert [got.target for got in upstream.got] == ["/v1/chat/completions"] * 2
        assert [got.json["model"] for got in upstream.got] == ["plain", "flash.e"]


async def test_azures_deployment_may_have_a_slash_and_counts_whatever_the_body_names(stage: Stage) -> None:
    name = f"openai/{stage.model}"
    models = [{"name": name, "upstreamName": "theirs"}, {"name": stage.model}, {"name": f"{name}/mini"}]
    async with Upstream(anything) as upstream:
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url, "models": models}})
        client = AsyncAzureOpenAI(
            azure_endpoint=stage.origin,
            azure_deployment=name,
            api_version="2025-01-01",
            api_key=stage.key,
            max_retries=0,
            timeout=60,
        )
        async with client:
            await client.chat.completions.create(model="whatever", messages=[say("Hi")])
            await client.embeddings.create(model=stage.model, input="Hi", encoding_format="float")
        path = f"/openai/deployments/{name}/mini/chat/completions"
        assert (await stage.post({"model": "gpt-4", "messages": [say("Hi")]}, path=path)).status == 200
        assert [got.json["model"] for got in upstream.got] == ["theirs", "theirs", f"{name}/mini"]


async def test_a_form_finds_its_model_and_arrives_as_it_was_sent(stage: Stage) -> None:
    async with Upstream(anything) as upstream:
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url, "endpoints": ["audio"]}})
        sound = bytes(range(256)) * 64
        await stage.client.audio.transcriptions.create(model="plain", file=("a.wav", sound))
        assert upstream.got[0].target == "/v1/audio/transcriptions"
        assert sound in upstream.got[0].body
        assert b"flash" not in upstream.got[0].body
        await stage.client.audio.transcriptions.create(model=stage.model, file=("a.wav", sound))
        assert b"\r\n\r\nflash.e\r\n" in upstream.got[1].body
        assert sound in upstream.got[1].body


async def test_envoy_takes_the_patterns_of_every_api_that_there_is(stage: Stage) -> None:
    async with Upstream(anything) as upstream:
        everything = sorted(KNOWN | OBJECTS)
        await stage.serve("e", specs={"e": {**SPEAKS, "url": upstream.url, "endpoints": everything}})
        for name in sorted(KNOWN):
            assert (await stage.post(body(stage.model), path=f"/v1/{name}")).status == 200, name
        for name in OBJECTS - {MESSAGE_BATCHES}:
            decision = (await stage.get(f"/v1/{name}/x_1")).headers["x-limpet-decision"]
            assert decision in ("refused.object_gone", "refused.method"), name
        assert (await stage.get("/v1/messages/batches/x_1")).json["type"] == "error"
        assert [got.target for got in upstream.got] == [f"/v1/{name}" for name in sorted(KNOWN)]
