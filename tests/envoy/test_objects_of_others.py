"""An object is its owner's alone, in whatever way another client asks for it whose provider would give it."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
import pytest_asyncio
from tests.envoy.raw import Answered, request, send
from tests.envoy.stage import Stage
from tests.envoy.upstream import Got, Reply, Upstream
from tests.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_JSON = "content-type: application/json"
_CHUNKED = "transfer-encoding: chunked"
_KEEPS: dict[str, Any] = {
    "vendor": "Custom",
    "dialects": ["OpenAIChat", "OpenAIResponses", "AnthropicMessages"],
    "endpoints": ["audio", "batches", "embeddings", "files", "fine_tuning", "threads", "uploads", "vector_stores"],
}


def _account(stage: Stage) -> Callable[[Got], Reply]:
    """A provider that has everything that it is asked for, and gives new objects numbers."""

    def answer(got: Got) -> Reply:
        kind = got.target.partition("?")[0].removeprefix("/v1/").partition("/")[0]
        made = {"id": f"{kind}_{stage.key}_{got.number}", "object": "response", "output": []}
        return Reply(headers={"content-type": "application/json"}, body=made)

    return answer


class Bed:
    """A gateway with one such provider, and its clients by their keys."""

    def __init__(self, stage: Stage, upstream: Upstream) -> None:
        self.stage, self.upstream = stage, upstream

    async def ask(self, key: str, method: str, path: str, *headers: str, body: bytes = b"") -> Answered:
        """A request as it is written here."""
        own = f"authorization: Bearer {self.stage.key}-{key}"
        return await send(self.stage.origin, request(method, path, own, *headers, body=body))

    async def post(self, key: str, path: str, body: object, *headers: str) -> Answered:
        """A request with a JSON body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.ask(key, "POST", path, _JSON, f"content-length: {len(data)}", *headers, body=data)

    async def made(self, key: str, path: str, body: object) -> str:
        """The id of a new object, once it is known as this client's."""
        answer = await self.post(key, path, body)
        assert answer.status == 200, answer.body
        name: str = json.loads(answer.body)["id"]
        assert (await self.ask(key, "GET", f"{path}/{name}")).status == 200
        self.upstream.got.clear()
        return name

    def assert_refused(self, answer: Answered, *statuses: int) -> None:
        """It went to no provider."""
        assert answer.status in (statuses or (404,)), (answer.status, answer.body)
        assert not self.upstream.got, self.upstream.got[0].head


@pytest_asyncio.fixture(loop_scope="session")
async def bed(stage: Stage) -> AsyncIterator[Bed]:
    async with Upstream(_account(stage)) as upstream:
        await stage.serve("e", specs={"e": {**_KEEPS, "url": upstream.url}})
        yield Bed(stage, upstream)


def _chunks(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n0\r\n\r\n" % (len(data), data)


async def test_a_body_is_read_whether_or_not_its_length_is_announced(bed: Bed) -> None:
    file = await bed.made("a", "/v1/files", {"purpose": "batch"})
    data = json.dumps({"input_file_id": file}).encode()
    bed.assert_refused(await bed.post("b", "/v1/batches", data))
    bed.assert_refused(await bed.ask("b", "POST", "/v1/batches", _JSON, _CHUNKED, body=_chunks(data)))
    bed.assert_refused(await bed.post("b", "/v1/batches", data, "connection: content-length"))
    async with httpx.AsyncClient(http1=False, http2=True, timeout=60) as client:

        async def pieces() -> AsyncIterator[bytes]:
            yield data

        headers = {"authorization": f"Bearer {bed.stage.key}-b", "content-type": "application/json"}
        url = f"{bed.stage.origin}/v1/batches"
        assert (await client.post(url, content=pieces(), headers=headers)).status_code == 404
        headers["authorization"] = f"Bearer {bed.stage.key}-a"
        assert (await client.post(url, content=pieces(), headers=headers)).status_code == 200
    assert [got.body for got in bed.upstream.got] == [data]


@pytest.mark.parametrize("announced", [["content-length: 0"], [], [_CHUNKED]], ids=["0", "unannounced", "chunked"])
async def test_what_has_no_body_needs_none(bed: Bed, announced: list[str]) -> None:
    batch = await bed.made("a", "/v1/batches", {"endpoint": "/v1/responses"})
    body = b"0\r\n\r\n" if _CHUNKED in announced else b""
    answer = await bed.ask("a", "POST", f"/v1/batches/{batch}/cancel", *announced, body=body)
    assert answer.status == 200, answer.body
    assert [got.body for got in bed.upstream.got] == [b""]


@pytest.mark.parametrize(
    "path",
    [
        "/v1/embeddings/..%2ffiles%2f{}",
        "/v1/embeddings/%252e%252e%252ffiles%252f{}",
        "/v1/audio/..%2Ffiles",
        "/v1/embeddings/..%5cfiles%5c{}",
        "/v1/threads/runs/..%2f..%2ffiles%2f{}",
        "/v1/fine_tuning/..%2fbatches%2f{}%2fcancel",
        "/v1/embeddings/x%23y",
        "/openai/deployments/x/embeddings/..%2ffiles",
        "/v1/embeddings/" + "a" * 5000,
    ],
)
async def test_a_path_that_can_be_read_in_two_ways_goes_nowhere(bed: Bed, path: str) -> None:
    file = await bed.made("a", "/v1/files", {"purpose": "batch"})
    answer = await bed.post("b", path.replace("{}", file), {"model": bed.stage.model, "input": "x"})
    bed.assert_refused(answer, 404, 414)
    assert set(answer.error) == {"message", "type", "param", "code"}


async def test_a_long_path_leads_to_no_other_object(bed: Bed) -> None:
    theirs, mine = await asyncio.gather(*(bed.made(key, "/v1/files", {"purpose": "batch"}) for key in "ab"))
    for method in ("GET", "DELETE"):
        path = f"/v1/files/{mine}/{'a' * 4096}%2f..%2f..%2f{theirs}"
        bed.assert_refused(await bed.ask("b", method, path))


def _turn(stage: Stage, *content: dict[str, Any]) -> dict[str, Any]:
    return {"model": stage.model, "input": [{"role": "user", "content": list(content)}]}


async def test_what_a_request_names_is_its_clients_own(bed: Bed) -> None:
    file = await bed.made("a", "/v1/files", {"purpose": "batch"})
    store = await bed.made("b", "/v1/vector_stores", {"name": "mine"})
    went_before = await bed.made("b", "/v1/responses", _turn(bed.stage))
    escaped = file.replace("_", "\\u005f", 1)
    picture = _turn(bed.stage, {"type": "input_file", "file_id": file})
    asked: list[tuple[str, object]] = [
        (f"/v1/vector_stores/{store}/files", {"file_id": file}),
        ("/v1/batches", json.dumps({"input_file_id": file}).replace(file, escaped).encode()),
        ("/v1/batches", {"metadata": {"pad": "x" * (1 << 20)}, "input_file_id": file}),
        ("/v1/vector_stores", {"file_ids": [f"file-{number}" for number in range(40)] + [file]}),
        ("/v1/responses", picture),
        ("/v1/responses", json.dumps(picture).replace(file, escaped).encode()),
        ("/v1/responses", {**picture, "previous_response_id": went_before}),
        (
            "/v1/chat/completions",
            {"model": bed.stage.model, "messages": [{"role": "user", "content": [{"file": {"file_id": file}}]}]},
        ),
    ]
    for path, body in asked:
        bed.assert_refused(await bed.post("b", path, body))
    assert (await bed.post("a", "/v1/responses", picture)).status == 200


async def test_a_tool_may_have_arguments_of_any_name(bed: Bed) -> None:
    file = await bed.made("a", "/v1/files", {"purpose": "batch"})
    called = {"type": "tool_use", "id": "t1", "name": "docker", "input": {"container": file, "file_id": file}}
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": [called]}]
    body = {"model": bed.stage.model, "max_tokens": 5, "messages": turns}
    await bed.post("b", "/v1/messages", body)
    assert len(bed.upstream.got) == 1


async def test_what_comes_with_an_object_is_its_owners(bed: Bed) -> None:
    batch = await bed.made("a", "/v1/batches", {"endpoint": "/v1/responses"})
    output = f"file_{batch}"
    bed.upstream.script = lambda _: Reply(
        headers={"content-type": "application/json"}, body={"id": batch, "output_file_id": output}
    )
    assert (await bed.ask("a", "GET", f"/v1/batches/{batch}")).status == 200
    assert (await bed.ask("a", "GET", f"/v1/files/{output}/content")).status == 200
    bed.upstream.got.clear()
    bed.assert_refused(await bed.ask("b", "GET", f"/v1/files/{output}/content"))


async def test_a_response_in_the_background_can_be_cancelled_while_it_streams(bed: Bed) -> None:
    live = f"resp_{bed.stage.key}"
    created = {"type": "response.created", "response": {"id": live, "object": "response", "background": True}}
    event = f"event: response.created\ndata: {json.dumps(created)}\n\n".encode()
    stream = Reply(headers={"content-type": "text/event-stream"}, pieces=[event], stalls=True)
    rest = Reply(headers={"content-type": "application/json"}, body={"id": live, "object": "response"})
    bed.upstream.script = lambda got: stream if got.target == "/v1/responses" else rest
    body = json.dumps({"model": bed.stage.model, "input": "hi", "background": True, "stream": True}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(bed.stage.origin.rpartition(":")[2]))
    own = f"authorization: Bearer {bed.stage.key}-a"
    writer.write(request("POST", "/v1/responses", own, _JSON, f"content-length: {len(body)}", body=body))
    await reader.readuntil(live.encode())

    async def cancelled() -> bool:
        answer = await bed.ask("a", "POST", f"/v1/responses/{live}/cancel", "content-length: 0")
        return answer.status == 200

    await until(cancelled, "the id of what is under way")
    writer.close()


async def test_a_client_of_anthropics_gets_its_errors(bed: Bed) -> None:
    version = "anthropic-version: 2023-06-01"
    answers = [await bed.ask("a", method, "/v1/files/file_x", version) for method in ("GET", "DELETE")]
    answers.append(await bed.ask("a", "GET", "/v1/files", version))
    for answer in answers:
        bed.assert_refused(answer, 404, 405)
        assert json.loads(answer.body)["type"] == "error", answer.body
