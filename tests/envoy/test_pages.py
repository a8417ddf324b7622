"""What the gateway answers itself to those who ask what there is, in the words of their SDK."""

import anthropic
import pytest
from anthropic import AsyncAnthropic
from tests.envoy.cast import PLAIN
from tests.envoy.raw import request, send
from tests.envoy.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_VERSION = "anthropic-version: 2023-06-01"
_LOCAL = "http://localhost:5173"


async def test_anthropics_sdk_lists_the_models_page_by_page_and_finds_one(stage: Stage) -> None:
    await stage.serve("a", "b")
    async with AsyncAnthropic(base_url=stage.origin, api_key=stage.key, max_retries=0) as client:
        for limit in (1, 2, 1000):
            assert [model.id async for model in client.models.list(limit=limit)] == [PLAIN, stage.model]
        page = await client.models.list()
        assert (page.first_id, page.last_id, page.has_more) == (PLAIN, stage.model, False)
        found = await client.models.retrieve(stage.model)
        assert (found.id, found.display_name, found.type) == (stage.model, stage.model, "model")
        with pytest.raises(anthropic.NotFoundError, match="nobodys"):
            await client.models.retrieve("nobodys")
    assert (await stage.client.models.retrieve(stage.model)).object == "model"


_PAGES = {
    "after": ("after_id=plain", 1, False),
    "after the last": ("after_id={model}", 0, False),
    "before": ("before_id={model}&limit=9", 1, False),
    "no number": ("limit=x", 2, False),
    "none": ("limit=0", 1, True),
}


@pytest.mark.parametrize(("query", "length", "more"), _PAGES.values(), ids=_PAGES.keys())
async def test_a_page_of_anthropics_list_begins_and_ends_where_it_is_asked_to(
    stage: Stage, query: str, length: int, more: bool
) -> None:
    await stage.serve("a")
    path = f"/v1/models?{query.format(model=stage.model.replace('/', '%2F'))}"
    async with stage.http.get(stage.origin + path, headers={"anthropic-version": "2023-06-01"}) as response:
        page = await response.json()
    ids = [model["id"] for model in page["data"]]
    assert (len(ids), page["has_more"]) == (length, more)
    assert (page["first_id"], page["last_id"]) == ((ids[0], ids[-1]) if ids else (None, None))


@pytest.mark.parametrize(
    "path",
    ["/v1/models", "/models/", "/openai/v1/models", "/anthropic/v1/models?limit=1000", "/v1/models/plain", "/v1/", "/"],
)
@pytest.mark.parametrize("lines", [(), (_VERSION,)], ids=["OpenAI", "Anthropic"])
async def test_head_is_answered_where_get_is_and_without_a_body(
    stage: Stage, path: str, lines: tuple[str, ...]
) -> None:
    await stage.serve("a")
    got = await send(stage.origin, request("GET", path, *lines))
    head = await send(stage.origin, request("HEAD", path, *lines))
    assert (got.status, head.status, head.body) == (200, 200, b"")
    assert head.headers["x-limpet-decision"] == got.headers["x-limpet-decision"]


@pytest.mark.parametrize("path", ["/api/hello", "/anthropic/api/hello", "/healthz"])
async def test_who_asks_whether_anybody_is_there_is_told_so(stage: Stage, path: str) -> None:
    await stage.serve("a")
    answer = await send(stage.origin, request("HEAD", path, f"origin: {_LOCAL}"))
    assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "answered.health")
    assert answer.headers["access-control-allow-origin"] == _LOCAL


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/embeddings", "/v1/responses/resp_1", "/healthz"])
async def test_a_page_that_is_allowed_may_ask_for_everything_and_read_refusals(stage: Stage, path: str) -> None:
    await stage.serve("a")
    asked = (f"origin: {_LOCAL}", "access-control-request-method: DELETE")
    before = await send(stage.origin, request("OPTIONS", path, *asked))
    assert before.status == 204
    assert "DELETE" in before.headers["access-control-allow-methods"]
    refused = await send(stage.origin, request("PUT", path, f"origin: {_LOCAL}"))
    assert refused.status in (404, 405)
    assert refused.headers["access-control-allow-origin"] == _LOCAL
    assert "x-limpet-decision" in refused.headers["access-control-expose-headers"]
