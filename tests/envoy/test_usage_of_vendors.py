"""The same numbers at the client, in the metrics and in the record, whatever a vendor calls them."""

import json
from typing import Any

import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.stage import Stage
from tests.envoy.upstream import Reply, Upstream
from tests.envoy.vendor_answers import VENDOR_USAGES, VendorUsage, client_sees, last_usage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_METRICS = {
    "prompt": "limpet_prompt_tokens_total",
    "cached": "limpet_cached_tokens_total",
    "written": "limpet_cache_written_tokens_total",
    "written_long": "limpet_cache_written_long_tokens_total",
    "output": "limpet_output_tokens_total",
    "reasoning": "limpet_reasoning_tokens_total",
}
_PATHS = {"OpenAIChat": "/v1/chat/completions", "OpenAIResponses": "/v1/responses", "AnthropicMessages": "/v1/messages"}
_WAYS = [
    *(pytest.param(case, False, id=f"whole-{case}") for case in VENDOR_USAGES if case.comes_whole),
    *(pytest.param(case, True, id=f"stream-{case}") for case in VENDOR_USAGES),
]


def _asked(case: VendorUsage, stage: Stage, stream: bool) -> dict[str, Any]:
    body: dict[str, Any] = {"model": stage.model, "stream": stream}
    if case.api == "OpenAIResponses":
        return body | {"instructions": LONG, "input": "Where is the limpet?"}
    if case.api == "AnthropicMessages":
        return body | {"system": LONG, "max_tokens": 100, "messages": [say("Where is the limpet?")]}
    options = {"stream_options": {"include_usage": True}} if stream else {}
    return body | options | {"messages": [say(LONG, "system"), say("Where is the limpet?")]}


@pytest.mark.parametrize(("case", "stream"), _WAYS)
async def test_each_vendors_numbers_arrive_everywhere(stage: Stage, case: VendorUsage, stream: bool) -> None:
    pieces: list[bytes | float] = [*case.events()]
    reply = Reply(headers={"content-type": "application/json"}, body=case.whole())
    if stream:
        reply = Reply(headers={"content-type": "text/event-stream"}, pieces=pieces)
    async with Upstream(lambda _: reply) as upstream:
        dialects = {"dialects": [case.api]} if case.vendor == "Custom" else {}
        await stage.serve("a", specs={"a": {"vendor": case.vendor, "url": upstream.url, **dialects}})
        got = await stage.post(_asked(case, stage, stream), path=_PATHS[case.api])
        assert got.status == 200, got.body
        await stage.settle()
    if case.api != "AnthropicMessages":
        wanted = {name: number for name, number in case.tokens.items() if name in ("prompt", "cached", "written")}
        assert client_sees(last_usage(got.body)) == wanted
    assert b"flash.a" not in got.body
    for name, metric in _METRICS.items():
        assert await stage.metric(metric) == case.tokens.get(name, 0), name
    unreported = await stage.metric("limpet_cache_unreported_tokens_total")
    assert unreported == (0 if "cached" in case.tokens else case.tokens["prompt"])
    assert await stage.metric("limpet_usage_unreported_total") == 0


@pytest.mark.parametrize("asked", [False, True], ids=["not asked", "asked"])
async def test_a_usage_that_nobody_asked_for_stays_away(stage: Stage, asked: bool) -> None:
    head = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "flash.a"}
    said = {"index": 0, "delta": {"content": "On its rock."}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1500, "completion_tokens": 4, "prompt_cache_hit_tokens": 1408}
    events = [{**head, "choices": [said], "usage": None}, {**head, "choices": [], "usage": usage}]
    sent: list[bytes | float] = [f"data: {json.dumps(each)}\n\n".encode() for each in events]
    async with Upstream(
        lambda _: Reply(headers={"content-type": "text/event-stream"}, pieces=[*sent, b"data: [DONE]\n\n"])
    ) as upstream:
        await stage.serve("a", specs={"a": {"url": upstream.url}})
        options = {"stream_options": {"include_usage": True}} if asked else {}
        got = await stage.post({"model": stage.model, "stream": True, "messages": [say("Where?")], **options})
        await stage.settle()
    assert upstream.got[0].json["stream_options"] == {"include_usage": True}
    chunks = [json.loads(line[6:]) for line in got.body.splitlines() if line.startswith(b"data: {")]
    assert chunks[0]["choices"][0]["delta"]["content"] == "On its rock."
    assert [each["model"] for each in chunks] == [stage.model] * len(chunks)
    assert len(chunks) == (2 if asked else 1)
    assert await stage.metric("limpet_cached_tokens_total") == 1408
