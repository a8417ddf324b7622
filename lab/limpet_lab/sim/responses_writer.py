"""How OpenAI's Responses API writes an answer: a response, or its events."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from limpet_lab.sim.answer import Answer
from limpet_lab.sim.prompt import Prompt
from limpet_lab.sim.responses import AskedResponse, rendered
from limpet_lab.sim.responses_store import ResponseStore, StoredResponse
from limpet_lab.sim.rules import Quantity
from limpet_lab.sim.wire import Head, Usage, call_id, usage_object

_USAGE: Final[Mapping[str, Quantity]] = {
    "input_tokens": "prompt",
    "input_tokens_details.cached_tokens": "cached",
    "input_tokens_details.cache_write_tokens": "written",
    "input_tokens_details.cache_write_tokens_details.ttl_30m_tokens": "written_short",
    "input_tokens_details.cache_write_tokens_details.ttl_12h_tokens": "written_long",
    "output_tokens": "output",
    "output_tokens_details.reasoning_tokens": "reasoning",
    "total_tokens": "total",
}
_ECHOED: Final[Mapping[str, Any]] = {
    "background": False,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "prompt_cache_key": None,
    "reasoning": {"effort": None, "summary": None},
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
"""Fields of a request that its response repeats, and what they are where it has none."""


class ResponsesWriter:
    """Responses of one account, which are kept where they are asked for later."""

    id_prefix = "resp_"

    def __init__(self, asked: AskedResponse, store: ResponseStore, account: str) -> None:
        self._asked, self._store, self._account = asked, store, account

    def whole(self, head: Head, answer: Answer, usage: Usage) -> bytes:
        """A response; one in the background has only begun."""
        final = self._final(head, answer, usage)
        later: list[dict[str, Any]] = []
        if self._asked.background:
            later = [self._shown(head, "in_progress"), final]
            final = self._shown(head, "queued")
        self._keep(head, answer, final, later)
        return msgspec.json.encode(final)

    def events(self, head: Head, answer: Answer, usage: Usage) -> Iterator[bytes]:
        """From `response.created` to `response.completed`, numbered."""
        final = self._final(head, answer, usage)
        self._keep(head, answer, final, [])
        begun = self._shown(head, "in_progress")
        steps = [("response.created", {"response": begun}), ("response.in_progress", {"response": begun})]
        for index, item in enumerate(_output(head, answer)):
            steps += _item_steps(index, item, answer)
        ended = "response.completed" if final["status"] == "completed" else "response.incomplete"
        for number, (name, fields) in enumerate([*steps, (ended, {"response": final})]):
            event = msgspec.json.encode({"type": name, "sequence_number": number, **fields})
            yield b"event: " + name.encode() + b"\ndata: " + event + b"\n\n"

    def kept(self, prompt: Prompt, head: Head, answer: Answer) -> Prompt:
        """The items of the answer more."""
        more = (rendered(item, prompt.ruler) for item in _output(head, answer))
        return Prompt((*prompt.segments, *more), prompt.ruler)

    def _keep(self, head: Head, answer: Answer, shown: dict[str, Any], later: list[dict[str, Any]]) -> None:
        asked, output = self._asked, tuple(_output(head, answer))
        if asked.conversation is not None:
            self._store.conversation(self._account, asked.conversation).items = (*asked.context, *output)
        if asked.store:
            given = tuple({"id": f"{head.id}_in_{n}", **item} for n, item in enumerate(asked.given))
            context = (*asked.context, *output)
            self._store.keep(self._account, head.id, StoredResponse(shown, given, context, later))

    def _shown(self, head: Head, status: str) -> dict[str, Any]:
        fields = self._asked.fields
        echoed = {name: fields[name] if fields.get(name) is not None else usual for name, usual in _ECHOED.items()}
        conversation = None if self._asked.conversation is None else {"id": self._asked.conversation}
        return {
            "id": head.id,
            "object": "response",
            "created_at": head.created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "model": head.model,
            "output": [],
            "conversation": conversation,
            "usage": None,
            **echoed,
        }

    def _final(self, head: Head, answer: Answer, usage: Usage) -> dict[str, Any]:
        cut = answer.finish == "length"
        return self._shown(head, "incomplete" if cut else "completed") | {
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": _output(head, answer),
            "usage": usage_object(usage, _USAGE, show_cache=True),
        }


def _output(head: Head, answer: Answer) -> list[dict[str, Any]]:
    own = head.id.rpartition("_")[2]
    items: list[dict[str, Any]] = []
    if answer.thoughts:
        summary = [{"type": "summary_text", "text": answer.thoughts}]
        items.append({"id": "rs_" + own, "type": "reasoning", "summary": summary})
    if answer.tool is not None:
        call = {"id": "fc_" + own, "call_id": call_id(head), "name": answer.tool, "arguments": answer.text}
        items.append({"type": "function_call", "status": "completed", **call})
        return items
    text = {"type": "output_text", "text": answer.text, "annotations": [], "logprobs": []}
    message = {"id": "msg_" + own, "role": "assistant", "content": [text]}
    items.append({"type": "message", "status": "completed", **message})
    return items


def _item_steps(index: int, item: dict[str, Any], answer: Answer) -> Iterator[tuple[str, dict[str, Any]]]:
    place = {"output_index": index, "item_id": item["id"]}
    begun: dict[str, Any] = {"status": "in_progress"}
    match item["type"]:
        case "reasoning":
            yield "response.output_item.added", {"output_index": index, "item": {**item, "summary": []}}
            at = {**place, "summary_index": 0}
            (part,) = item["summary"]
            yield "response.reasoning_summary_part.added", {**at, "part": {**part, "text": ""}}
            yield "response.reasoning_summary_text.delta", {**at, "delta": part["text"]}
            yield "response.reasoning_summary_text.done", {**at, "text": part["text"]}
            yield "response.reasoning_summary_part.done", {**at, "part": part}
        case "function_call":
            yield "response.output_item.added", {"output_index": index, "item": {**item, **begun, "arguments": ""}}
            for piece in answer.pieces:
                yield "response.function_call_arguments.delta", {**place, "delta": piece}
            done = {"name": item["name"], "arguments": item["arguments"]}
            yield "response.function_call_arguments.done", {**place, **done}
        case _:
            yield "response.output_item.added", {"output_index": index, "item": {**item, **begun, "content": []}}
            at = {**place, "content_index": 0}
            (part,) = item["content"]
            yield "response.content_part.added", {**at, "part": {**part, "text": ""}}
            for piece in answer.pieces:
                yield "response.output_text.delta", {**at, "delta": piece, "logprobs": []}
            yield "response.output_text.done", {**at, "text": part["text"], "logprobs": []}
            yield "response.content_part.done", {**at, "part": part}
    yield "response.output_item.done", {"output_index": index, "item": item}
