"""Who the conversation is: each rung of the ladder, seen from outside."""

import json
from typing import Any

import pytest
from tests.envoy.cast import LONG, body_of, say
from tests.envoy.stage import Stage

from limpet_extproc.contract.envoy import SESSION_HEADERS

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


def _text(number: int) -> list[dict[str, Any]]:
    """A prompt whose opener differs from every other number's."""
    return [say(LONG, "system"), say(f"Opener {number}")]


async def _same(stage: Stage, first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Whether two requests with different texts are one conversation."""
    one = await stage.ask(_text(1), **first)
    assert one.decision == "first.scored"
    await stage.settle()
    two = await stage.ask(_text(2), **second)
    assert two.decision in {"sticky.hit", "first.scored"}
    return two.decision == "sticky.hit"


@pytest.mark.parametrize("header", [*SESSION_HEADERS, "X-Session-ID"])
async def test_a_session_header_names_the_conversation(stage: Stage, header: str) -> None:
    await stage.serve("a", "b", "c")
    assert await _same(stage, {"headers": {header: "one"}}, {"headers": {header: "one"}})
    third = await stage.ask(_text(3), headers={header: "two"})
    assert third.decision == "first.scored"


@pytest.mark.parametrize(
    ("agent", "trusted"), [("codex_cli_rs/0.99", True), ("some-browser/1.0", False)], ids=["codex", "others"]
)
async def test_bare_session_headers_are_believed_from_codex_alone(stage: Stage, agent: str, trusted: bool) -> None:
    await stage.serve("a", "b", "c")
    headers = {"headers": {"session-id": "one", "user-agent": agent}}
    assert await _same(stage, headers, headers) is trusted


async def test_a_subagent_is_a_conversation_of_its_own(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    main = {"x-claude-code-session-id": "one"}
    agent = {**main, "x-claude-code-agent-id": "a"}
    assert not await _same(stage, {"headers": main}, {"headers": agent})
    await stage.settle()
    third = await stage.ask(_text(3), headers=agent)
    assert third.decision == "sticky.hit"


async def test_session_id_in_the_body_is_ours_and_goes_no_further(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    assert await _same(stage, {"extra": {"session_id": "one"}}, {"extra": {"session_id": "one"}})
    bodies = [body_of(arrival) for name in "abc" for arrival in await stage.arrivals(name)]
    assert len(bodies) == 2
    assert all(b"session_id" not in body for body in bodies)


async def test_prompt_cache_key_names_the_conversation_and_stays_in_the_body(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    assert await _same(stage, {"prompt_cache_key": "one"}, {"prompt_cache_key": "one"})
    bodies = [body_of(arrival) for name in "abc" for arrival in await stage.arrivals(name)]
    assert all(b'"prompt_cache_key":"one"' in body for body in bodies)


async def test_a_header_of_the_policy_comes_before_all_others(stage: Stage) -> None:
    await stage.serve("a", "b", "c", policy={"identity": {"headers": ["X-Chat-Number"]}})
    named = {"headers": {"x-chat-number": "7", "x-session-id": "one"}}
    assert await _same(stage, named, {"headers": {"x-chat-number": "7", "x-session-id": "two"}})


async def test_the_ladder_goes_from_header_to_body_to_key_to_text(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    headers, extra = {"x-session-id": "h"}, {"session_id": "b"}
    assert await _same(
        stage,
        {"headers": headers, "extra": extra, "prompt_cache_key": "k"},
        {"headers": headers, "extra": {"session_id": "other"}, "prompt_cache_key": "other"},
    )
    body = await stage.ask(_text(4), extra=extra, prompt_cache_key="k")
    await stage.settle()
    same = await stage.ask(_text(5), extra=extra, prompt_cache_key="other")
    assert (body.decision, same.decision) == ("first.scored", "sticky.hit")


async def test_equal_texts_of_two_tenants_are_two_conversations(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    await stage.ask(_text(1), key=f"{stage.key}-one")
    await stage.settle()
    other = await stage.ask(_text(1), key=f"{stage.key}-two")
    same = await stage.ask(_text(1), key=f"{stage.key}-one")
    assert (other.decision, same.decision) == ("first.scored", "sticky.hit")


async def test_one_session_id_of_two_tenants_is_two_conversations(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    named = {"x-session-id": "shared"}
    await stage.ask(_text(1), key=f"{stage.key}-one", headers=named)
    await stage.settle()
    other = await stage.ask(_text(1), key=f"{stage.key}-two", headers=named)
    assert other.decision == "first.scored"


async def test_equal_texts_of_two_users_are_two_conversations(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    await stage.ask(_text(1), user="anne")
    await stage.settle()
    other = await stage.ask(_text(1), user="bob")
    same = await stage.ask(_text(1), user="anne")
    assert (other.decision, same.decision) == ("first.scored", "sticky.hit")


async def test_another_system_prompt_is_another_conversation(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    await stage.ask([say(LONG, "system"), say("Hello")])
    await stage.settle()
    other = await stage.ask([say(LONG + "Be brief.", "system"), say("Hello")])
    assert other.decision == "first.scored"


SPEAKS_BOTH: dict[str, Any] = {"dialects": ["OpenAIChat", "AnthropicMessages"]}
SESSION = "7581b58b-1234-4d3c-9c52-3e8a0a6d5c11"


async def _message(stage: Stage, number: int, fields: dict[str, Any], *, count: bool = False) -> str:
    """Ask by Anthropic's Messages, or count what would be asked; the reason of the decision."""
    body = {"model": stage.model, "system": LONG, "messages": [say(f"Opener {number}")]} | fields
    path = "/v1/messages/count_tokens" if count else "/v1/messages"
    limit = {} if count else {"max_tokens": 9}
    answer = await stage.post(body | limit, path=path, headers={"anthropic-version": "2023-06-01"})
    assert answer.status == 200, answer
    await stage.settle()
    return answer.headers["x-limpet-decision"]


@pytest.mark.parametrize(
    "user_id",
    [json.dumps({"device_id": "d", "account_uuid": "", "session_id": SESSION}), f"user_0_account__session_{SESSION}"],
    ids=["today", "older"],
)
async def test_the_session_that_claude_code_writes_into_the_body_names_the_conversation(
    stage: Stage, user_id: str
) -> None:
    await stage.serve("a", "b", "c", specs=dict.fromkeys("abc", SPEAKS_BOTH))
    named = {"metadata": {"user_id": user_id}}
    assert await _message(stage, 1, named) == "first.scored"
    assert await _message(stage, 2, named) == "sticky.hit"


async def test_a_person_in_its_place_names_none_but_keeps_equal_texts_apart(stage: Stage) -> None:
    await stage.serve("a", "b", "c", specs=dict.fromkeys("abc", SPEAKS_BOTH))
    anne, bob = {"metadata": {"user_id": "anne"}}, {"metadata": {"user_id": "bob"}}
    assert [await _message(stage, 1, who) for who in (anne, bob, anne)] == ["first.scored"] * 2 + ["sticky.hit"]
    assert await _message(stage, 2, anne) == "first.scored"


async def test_messages_are_recognised_by_system_and_first_message_and_counted_where_they_are(stage: Stage) -> None:
    await stage.serve("a", "b", "c", specs=dict.fromkeys("abc", SPEAKS_BOTH))
    marked = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral"}}]
    assert await _message(stage, 1, {}) == "first.scored"
    assert await _message(stage, 1, {"system": marked}) == "sticky.hit"
    assert await _message(stage, 1, {}, count=True) == "sticky.hit"
