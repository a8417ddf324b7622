"""Requests for what lives at a provider, most of them without a body: they reach a worker all the same."""

import pytest
from tests.envoy.every_api import SPEAKS, anything
from tests.envoy.raw import request, send
from tests.envoy.stage import Stage
from tests.envoy.upstream import Upstream

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_KEEPS = {**SPEAKS, "endpoints": ["files", "batches"]}
_JSON = "content-type: application/json"
_ASKED: dict[str, bytes] = {
    "a response": request("GET", "/v1/responses/resp_1"),
    "a response as Azure has it": request("GET", "/openai/responses/resp_1?api-version=preview"),
    "its items": request("GET", "/v1/responses/resp_1/input_items?limit=2"),
    "its end": request("DELETE", "/v1/responses/resp_1"),
    "its end with a body": request("DELETE", "/v1/responses/resp_1", "content-length: 2", _JSON, body=b"{}"),
    "its cancellation": request("POST", "/v1/responses/resp_1/cancel", "content-length: 0"),
    "its cancellation, unannounced": request("POST", "/v1/responses/resp_1/cancel"),
    "its cancellation with a body": request(
        "POST", "/v1/responses/resp_1/cancel", "content-length: 2", _JSON, body=b"{}"
    ),
    "a file": request("GET", "/v1/files/file_1"),
    "its content": request("GET", "/v1/files/file_1/content"),
    "its deletion": request("DELETE", "/v1/files/file_1"),
    "a batch to cancel": request("POST", "/v1/batches/batch_1/cancel", "content-length: 0"),
}


async def _is_refused(stage: Stage, upstream: Upstream, data: bytes) -> None:
    answer = await send(stage.origin, data)
    assert (answer.status, answer.headers["x-limpet-decision"]) == (404, "refused.object_gone"), answer.body
    assert answer.error["type"] == "invalid_request_error"
    assert not upstream.got


@pytest.mark.parametrize("data", _ASKED.values(), ids=_ASKED.keys())
async def test_what_nobody_made_here_is_not_found_and_asked_of_no_provider(stage: Stage, data: bytes) -> None:
    async with Upstream(anything) as upstream:
        await stage.serve("e", specs={"e": {**_KEEPS, "url": upstream.url}})
        await _is_refused(stage, upstream, data)


async def test_header_mode_finds_no_more(header_stage: Stage) -> None:
    async with Upstream(anything) as upstream:
        await header_stage.serve("e", specs={"e": {**_KEEPS, "url": upstream.url}})
        for name, data in _ASKED.items():
            if name != "its end with a body":  # of which only the headers are sent to the worker
                await _is_refused(header_stage, upstream, data)


async def test_a_list_would_show_what_is_others(stage: Stage) -> None:
    await stage.serve("e", specs={"e": {**_KEEPS, "url": stage.sellers["e"].base_url}})
    answer = await stage.get("/v1/files")
    assert answer.status in (400, 403, 404, 405)
    assert answer.headers["x-limpet-decision"].startswith("refused.")
    assert answer.json["error"]["message"]
