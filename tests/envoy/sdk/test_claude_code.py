"""What Claude Code expects of a gateway: what it does not know passes untouched, both ways."""

import json
from typing import Any

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.sdk.gate import ODD, Gate
from tests.envoy.upstream import Reply

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

SESSION = "6f9619ff-8b86-4011-b42d-00c04fc964ff"
HEADERS = {
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "claude-code-20250219,some-beta-2026-11-01",
    "content-type": "application/json",
    "user-agent": "claude-cli/3.0.1 (external, cli)",
    "x-app": "cli",
    "x-claude-code-session-id": SESSION,
}
EVENTS = rb"""event: message_start
data: {"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "odd",\
 "content": [], "stop_reason": null, "usage": {"input_tokens": 9, "output_tokens": 1, "new": {"x": 1}}}}

event: ping
data: {"type": "ping"}

event: brand_new
data: {"type": "brand_new", "spaced" :  [1,  2]}

event: content_block_start
data: {"type": "content_block_start", "index": 0, "content_block": {"type": "unheard_of", "x": 1}}

event: content_block_stop
data: {"type": "content_block_stop", "index": 0}

event: message_delta
data: {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}}

event: message_stop
data: {"type": "message_stop"}

""".replace(b"\\\n", b"")
PIECES = tuple(piece + b"\n\n" for piece in EVENTS.split(b"\n\n")[:-1])


def body(**more: Any) -> dict[str, Any]:
    system = [{"type": "text", "text": LONG, "cache_control": {"type": "ephemeral", "ttl": "1h"}}]
    user_id = json.dumps({"device_id": "d", "account_uuid": "", "session_id": SESSION})
    asked = {"model": ODD, "max_tokens": 32000, "stream": True, "system": system, "messages": [say("Hello.")]}
    known = {"metadata": {"user_id": user_id}, "thinking": {"type": "adaptive"}, "tools": []}
    return {
        **asked,
        **known,
        "context_management": {"edits": [{"type": "some_edit"}]},
        "unheard_of": {"a": 1.50},
        **more,
    }


async def test_fields_flags_and_events_that_nobody_knows_pass_untouched(gate: Gate) -> None:
    gate.upstream.script = lambda _: Reply(headers={"content-type": "text/event-stream"}, pieces=PIECES)
    sent = json.dumps(body(), indent=1).encode()
    async with gate.http() as http:
        answer = await http.post("/v1/messages?beta=true", content=sent, headers=HEADERS)
    assert answer.status_code == 200
    assert answer.content == EVENTS
    got = gate.upstream.got[-1]
    assert got.body == sent
    assert got.target == "/v1/messages?beta=true"
    for name in ("anthropic-version", "anthropic-beta", "user-agent"):
        assert got.header(name) == HEADERS[name]


async def test_the_turns_of_a_session_stay_together(gate: Gate) -> None:
    gate.upstream.script = lambda _: Reply(headers={"content-type": "text/event-stream"}, pieces=PIECES)
    decisions = []
    async with gate.http() as http:
        for number in range(3):
            asked = body(messages=[say(f"Another beginning, {number}"), say("Yes.", "assistant"), say("And then?")])
            answer = await http.post("/v1/messages?beta=true", json=asked, headers=HEADERS)
            decisions.append(answer.headers["x-limpet-decision"])
    assert all(decision.startswith("sticky.") for decision in decisions[1:]), decisions


async def test_an_upstream_error_keeps_its_words(gate: Gate) -> None:
    words = {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 2 > 1"}}
    gate.upstream.script = lambda _: Reply(400, {"content-type": "application/json", "request-id": "req_1"}, words)
    async with gate.http() as http:
        answer = await http.post("/v1/messages?beta=true", json=body(stream=False), headers=HEADERS)
    assert (answer.status_code, answer.json(), answer.headers["request-id"]) == (400, words, "req_1")


async def test_models_are_listed_for_its_picker(gate: Gate) -> None:
    async with gate.http() as http:
        answer = await http.get("/v1/models?limit=1000", headers=HEADERS)
    assert {each["type"] for each in answer.json()["data"]} == {"model"}
    assert ODD in {each["id"] for each in answer.json()["data"]}
