"""Keys of clients, through a real Envoy: who is let in, what each is told, and what belongs to whom."""

import asyncio
import json
from collections.abc import AsyncIterator
from hashlib import sha256

import openai
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from anthropic import AuthenticationError as AnthropicAuthenticationError
from anthropic import PermissionDeniedError as AnthropicPermissionDeniedError
from tests.envoy.cast import LONG, headers_of, say
from tests.envoy.guarded import BOTH_APIS, LAPTOP, ROBOT, Guarded, guarded
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


@pytest_asyncio.fixture(loop_scope="session", params=[False, True], ids=["metadata", "header"])
async def required(
    number: int, sellers: Sellers, parser: Parser, request: pytest.FixtureRequest
) -> AsyncIterator[Guarded]:
    async with guarded(number, sellers, parser, "Required", header_mode=request.param) as ready:
        await ready.serve("a", "b", specs=dict.fromkeys("ab", BOTH_APIS), laptop=LAPTOP, robot=ROBOT)
        await ready.until_status(LAPTOP, 200)
        for seller in sellers:
            await seller.reset()
        yield ready


OF_NOBODY = "lpk-of-nobody-0123456789"
WRONG_HEADERS: dict[str, dict[str, str]] = {
    "none": {},
    "empty": {"authorization": ""},
    "scheme alone": {"authorization": "Bearer"},
    "scheme and spaces": {"authorization": "Bearer    "},
    "another scheme": {"authorization": f"Basic {LAPTOP}"},
    "no scheme": {"authorization": LAPTOP},
    "of another gateway": {"authorization": f"Bearer {OF_NOBODY}"},
    "a beginning of one": {"authorization": f"Bearer {LAPTOP[:-1]}"},
    "one with more behind": {"authorization": f"Bearer {LAPTOP}x"},
    "its digest": {"authorization": f"Bearer {sha256(LAPTOP.encode()).hexdigest()}"},
    "its name": {"authorization": "Bearer laptop"},
    "upper case": {"authorization": f"Bearer {LAPTOP.upper()}"},
    "two in one": {"authorization": f"Bearer {LAPTOP},Bearer {LAPTOP}"},
    "of two clients": {"authorization": f"Bearer {LAPTOP}", "x-api-key": ROBOT},
    "very long": {"authorization": "Bearer " + "k" * 50_000},
    "a header of ours": {"x-limpet-client": "laptop"},
}
RIGHT_HEADERS: dict[str, dict[str, str]] = {
    "bearer": {"authorization": f"Bearer {LAPTOP}"},
    "lower case scheme": {"authorization": f"bearer {LAPTOP}"},
    "upper case scheme": {"authorization": f"BEARER {LAPTOP}"},
    "spaces": {"authorization": f"Bearer   {LAPTOP}  "},
    "x-api-key": {"x-api-key": LAPTOP},
    "Azure's": {"api-key": LAPTOP},
    "Google's": {"x-goog-api-key": LAPTOP},
    "in both": {"authorization": f"Bearer {LAPTOP}", "x-api-key": LAPTOP},
    "beside a proxy's token": {"authorization": "Bearer eyJhbGciOiJIUzI1NiJ9.e30.x", "x-api-key": LAPTOP},
}


async def test_only_a_key_of_ours_lets_in(required: Guarded) -> None:
    for what, headers in WRONG_HEADERS.items():
        answer = await required.chat(**{name.replace("-", "_"): value for name, value in headers.items()})
        assert answer.status == 401, what
        assert answer.headers["x-limpet-decision"] == "refused.unauthorized", what
        assert answer.json["error"]["code"] == "invalid_api_key", what
        assert "lpk-" not in answer.body.decode(), what
    assert await required.reached() == 0
    for what, headers in RIGHT_HEADERS.items():
        answer = await required.chat(**{name.replace("-", "_"): value for name, value in headers.items()})
        assert answer.status == 200, (what, answer.body)
    assert await required.reached() == len(RIGHT_HEADERS)
    for seller in required.stage.each("a", "b"):
        for arrival in await seller.requests():
            assert not any("lpk-" in value for value in headers_of(arrival).values())


async def test_a_header_larger_than_any_is_refused_before(required: Guarded) -> None:
    answer = await required.chat(authorization="Bearer " + "k" * 1_000_000)
    assert answer.status == 431
    assert await required.reached() == 0


PATHS = [
    *((method, path) for path in ("/v1/files", "/v1/files/f-1", "/v1/batches/b-1") for method in ("GET", "DELETE")),
    ("HEAD", "/v1/files/f-1"),
    ("POST", "/v1/files"),
    ("POST", "/v1/batches"),
    ("POST", "/v1/batches/b-1/cancel"),
    ("POST", "/v1/embeddings"),
    ("POST", "/v1/responses"),
    ("GET", "/v1/responses/r-1"),
    ("DELETE", "/v1/responses/r-1"),
    ("POST", "/v1/responses/r-1/cancel"),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/chat/completions"),
    ("POST", "/openai/deployments/gpt/chat/completions"),
    ("POST", "/chat/completions"),
    ("GET", "/v1/models"),
    ("HEAD", "/v1/models"),
    ("GET", "/v1/models/x"),
]
"""All that reaches a provider, or tells of models."""
OPEN = [("GET", "/healthz", 200), ("GET", "/v1", 200), ("GET", "/nowhere", 404), ("PUT", "/v1/files", 405)]


async def test_without_a_key_no_path_leads_to_a_provider(required: Guarded) -> None:
    for method, path in PATHS:
        body = {"model": required.stage.model, "messages": [say("?")], "input": "?"} if method == "POST" else None
        answer = await required.send(method, path, body)
        assert (answer.status, answer.headers["x-limpet-decision"]) == (401, "refused.unauthorized"), (method, path)
    for method, path, status in OPEN:
        assert (await required.send(method, path)).status == status, path
    upgrade = {"connection": "upgrade", "upgrade": "websocket"}
    assert (await required.send("GET", "/v1/responses", None, **upgrade)).status == 400
    preflight = {"origin": "http://localhost", "access_control_request_method": "POST"}
    assert (await required.send("OPTIONS", "/v1/chat/completions", None, **preflight)).status == 204
    assert await required.reached() == 0
    models = await required.send("GET", "/v1/models", None, LAPTOP)
    assert models.status == 200
    assert required.stage.model in models.body.decode()


async def test_a_refusal_is_in_the_words_of_the_clients_api(required: Guarded) -> None:
    client = required.stage.client.with_options(api_key="not-a-key-of-this-gateway")
    with pytest.raises(openai.AuthenticationError) as refused:
        await client.chat.completions.create(model=required.stage.model, messages=[{"role": "user", "content": "Hi"}])
    assert refused.value.code == "invalid_api_key"
    async with AsyncAnthropic(base_url=required.stage.origin, api_key="not-a-key-of-this-gateway", max_retries=0) as a:
        with pytest.raises(AnthropicAuthenticationError) as shaped:
            await a.messages.create(
                model=required.stage.model, max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
            )
        assert "'type': 'authentication_error'" in str(shaped.value.body)


@pytest.mark.parametrize("header_mode", [False, True], ids=["metadata", "header"])
async def test_without_a_worker_nobody_is_served(
    number: int, sellers: Sellers, parser: Parser, header_mode: bool
) -> None:
    async with guarded(number, sellers, parser, "Required", header_mode=header_mode) as story:
        await story.serve("a", specs={"a": BOTH_APIS}, laptop=LAPTOP)
        await story.until_status(LAPTOP, 200)
        await sellers["a"].reset()
        gateway = story.stage.gateway
        gateway.children.kill("ext_proc")
        for method, path in PATHS:
            body = {"model": story.stage.model, "messages": [say("?")], "input": "?"} if method == "POST" else None
            answer = await story.send(method, path, body, LAPTOP)
            assert (answer.status, answer.headers["x-limpet-decision"]) == (503, "refused.unchecked"), (method, path)
            if path.startswith("/v1/messages"):
                assert answer.json["type"] == "error"
            elif method != "HEAD":
                assert answer.json["error"]["code"] == "keys_unchecked"
        assert await story.reached() == 0
        assert (await story.send("GET", "/healthz")).status == 200


async def test_who_may_come_without_a_key_may_not_come_with_a_revoked_one(
    number: int, sellers: Sellers, parser: Parser
) -> None:
    async with guarded(number, sellers, parser, "Optional") as story:
        await story.serve("a", laptop=LAPTOP)
        await story.until_status(LAPTOP, 200)
        assert (await story.chat(None)).status == 200
        assert (await story.chat("anything-else-at-all")).status == 200
        assert (await story.chat(OF_NOBODY)).status == 401
        assert (await story.send("GET", "/v1/models")).status == 200


async def test_a_key_for_some_models_asks_for_no_other(number: int, sellers: Sellers, parser: Parser) -> None:
    async with guarded(number, sellers, parser, "Required") as story:
        bound = json.dumps({"key": ROBOT, "models": ["other/*"]})
        await story.serve("a", specs={"a": BOTH_APIS}, laptop=LAPTOP, robot=bound)
        await story.until_status(LAPTOP, 200)
        await sellers["a"].reset()
        answer = await story.chat(ROBOT)
        assert (answer.status, answer.headers["x-limpet-decision"]) == (403, "refused.model_not_allowed")
        assert answer.json["error"]["code"] == "model_not_allowed"
        for decoy in ({}, {"model": "other/anything"}):
            made_of = {"input_file_id": "f", "endpoint": "/v1/responses", **decoy}
            assert (await story.send("POST", "/v1/batches", made_of, ROBOT)).status == 403
        async with AsyncAnthropic(base_url=story.stage.origin, api_key=ROBOT, max_retries=0) as client:
            with pytest.raises(AnthropicPermissionDeniedError):
                await client.messages.create(
                    model=story.stage.model, max_tokens=9, messages=[{"role": "user", "content": "Hi"}]
                )
        assert await story.reached() == 0


async def test_a_key_beyond_its_limit_waits(number: int, sellers: Sellers, parser: Parser) -> None:
    async with guarded(number, sellers, parser, "Required") as story:
        limited = json.dumps({"key": ROBOT, "requestsPerMinute": 3})
        await story.serve("a", laptop=LAPTOP, robot=limited)
        await story.until_status(LAPTOP, 200)
        statuses = [(await story.chat(ROBOT)).status for _ in range(4)]
        assert statuses == [200, 200, 200, 429]
        answer = await story.chat(ROBOT)
        assert answer.headers["x-limpet-decision"] == "refused.over_key_limit"
        assert 5 < int(answer.headers["retry-after"]) <= 61, "a minute after the first of them"
        assert answer.json["error"]["type"] == "rate_limit_error"
        assert (await story.chat(LAPTOP)).status == 200


async def test_a_key_is_replaced_under_load_and_keeps_its_conversations(
    number: int, sellers: Sellers, parser: Parser
) -> None:
    async with guarded(number, sellers, parser, "Required") as story:
        await story.serve("a", "b", laptop=LAPTOP)
        await story.until_status(LAPTOP, 200)
        talk = [say(LONG, "system"), say("First")]
        first = await story.stage.ask(talk, key=LAPTOP)
        await story.stage.settle()
        statuses: list[int] = []
        key, done = LAPTOP, asyncio.Event()

        async def load() -> None:
            while not done.is_set():
                statuses.append((await story.chat(key, "More")).status)

        running = [asyncio.create_task(load()) for _ in range(4)]
        # Both are good while clients change over, then the new one alone.
        await story.serve("a", "b", laptop=f"{LAPTOP} {ROBOT}")
        await story.until_status(ROBOT, 200)
        key = ROBOT
        await asyncio.sleep(0.2)
        await story.serve("a", "b", laptop=ROBOT)
        await story.until_status(LAPTOP, 401)
        await asyncio.sleep(0.2)
        done.set()
        await asyncio.gather(*running)
        assert set(statuses) == {200}
        assert len(statuses) > 20
        more = [*talk, say(first.text, "assistant"), say("Second")]
        second = await story.stage.ask(more, key=ROBOT)
        assert (second.seller, second.decision) == (first.seller, "sticky.hit")


@pytest.mark.parametrize("header", ["x-session-id", "x-claude-code-session-id", "x-session-affinity"])
async def test_two_clients_with_one_conversation_share_nothing(
    number: int, sellers: Sellers, parser: Parser, header: str
) -> None:
    async with guarded(number, sellers, parser, "Required") as story:
        await story.serve("a", "b", laptop=LAPTOP, robot=ROBOT)
        await story.until_status(LAPTOP, 200)
        talk, session = [say(LONG, "system"), say("The same")], {header: "session-1"}
        await story.stage.ask(talk, key=LAPTOP, headers=session)
        await story.stage.settle()
        again = await story.stage.ask(talk, key=LAPTOP, headers=session)
        stranger = await story.stage.ask(talk, key=ROBOT, headers=session)
        assert again.decision == "sticky.hit"
        assert stranger.decision == "first.scored"


async def test_an_object_is_its_clients_alone_whatever_its_key_is(
    number: int, sellers: Sellers, parser: Parser
) -> None:
    async with guarded(number, sellers, parser, "Required") as story:
        specs = {"a": {"dialects": ["OpenAIChat", "OpenAIResponses"]}}
        await story.serve("a", specs=specs, laptop=f"{LAPTOP} {OF_NOBODY}", robot=ROBOT)
        await story.until_status(LAPTOP, 200)
        made = await story.send("POST", "/v1/responses", {"model": story.stage.model, "input": "Keep this"}, LAPTOP)
        assert made.status == 200, made.body
        where = f"/v1/responses/{made.json['id']}"

        async def known() -> bool:
            return (await story.send("GET", where, None, LAPTOP)).status == 200

        await until(known, "the response to be known")
        assert (await story.send("GET", where, None, OF_NOBODY)).status == 200, "another key of the same client"
        assert (await story.send("GET", where, None, ROBOT)).status == 404


async def test_a_key_that_has_spent_its_dollars_of_today_waits_for_tomorrow(
    number: int, sellers: Sellers, parser: Parser
) -> None:
    async with guarded(number, sellers, parser, "Required") as story:
        budget = json.dumps({"key": ROBOT, "usdPerDay": 1e-9})
        await story.serve("a", laptop=LAPTOP, robot=budget)
        await story.until_status(LAPTOP, 200)
        assert (await story.chat(ROBOT, LONG)).status == 200
        await story.until_status(ROBOT, 429)
        assert 0 < int((await story.chat(ROBOT)).headers["retry-after"]) <= 86_400
        assert (await story.chat(LAPTOP, LONG)).status == 200

        async def counted(result: str) -> float:
            return await story.stage.metric("limpet_client_requests_total", client="robot", result=result)

        async def counted_all() -> bool:
            return await counted("refused.over_key_limit") >= 2 and await counted("routed") >= 1

        await until(counted_all, "the metrics of a moment later")
        assert "lpk-" not in await story.stage.metrics_text()


async def test_a_client_asks_why_if_its_entry_says_so(number: int, sellers: Sellers, parser: Parser) -> None:
    async with guarded(number, sellers, parser, "Required") as ready:
        await ready.serve("a", laptop=f"{{key: {LAPTOP}, debug: true}}", robot=ROBOT)
        await ready.until_status(LAPTOP, 200)
        before = await ready.reached()
        alone = {"x_limpet_debug": "explain-only"}
        told = await ready.chat(LAPTOP, **alone)
        assert (told.status, told.headers["x-limpet-decision"]) == (200, "answered.explained")
        assert told.json["identity"]["client"] == "laptop"
        assert LAPTOP.encode() not in told.body
        refused = [await ready.chat(key, **alone) for key in (ROBOT, "lpk-unknown-0123456789abcdef", None)]
        assert [(each.status, each.headers["x-limpet-decision"]) for each in refused] == [
            (403, "refused.debug"),
            (401, "refused.unauthorized"),
            (401, "refused.unauthorized"),
        ]
        assert await ready.reached() == before
        assert "x-limpet-explain" in (await ready.chat(LAPTOP, x_limpet_debug="explain")).headers
        assert "x-limpet-explain" not in (await ready.chat(ROBOT, x_limpet_debug="explain")).headers
