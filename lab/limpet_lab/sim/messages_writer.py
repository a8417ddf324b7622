"""How Anthropic's Messages API writes an answer: a message, or its events."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from limpet_lab.sim.answer import Answer
from limpet_lab.sim.prompt import Prompt
from limpet_lab.sim.rules import Quantity
from limpet_lab.sim.wire import Head, Usage, call_id, usage_object

_INPUT: Final[Mapping[str, Quantity]] = {
    "input_tokens": "plain",
    "cache_creation_input_tokens": "written",
    "cache_read_input_tokens": "cached",
}
"""Exclusive: the prompt is their sum."""

_SPLIT: Final[Mapping[str, Quantity]] = {
    "cache_creation.ephemeral_5m_input_tokens": "written_short",
    "cache_creation.ephemeral_1h_input_tokens": "written_long",
}
_STOPS: Final = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}


class MessagesWriter:
    """Messages."""

    id_prefix = "msg_"

    def whole(self, head: Head, answer: Answer, usage: Usage) -> bytes:
        """A message."""
        message = _message(head, usage_object(usage, {**_INPUT, **_SPLIT}, show_cache=True), usage.output)
        return msgspec.json.encode({**message, "content": _content(head, answer), "stop_reason": _STOPS[answer.finish]})

    def events(self, head: Head, answer: Answer, usage: Usage) -> Iterator[bytes]:
        """From `message_start` to `message_stop`, with a ping as the vendor sends it."""
        report = usage_object(usage, {**_INPUT, **_SPLIT}, show_cache=True)
        yield _event("message_start", message=_message(head, report, min(1, usage.output)))
        for index, (block, deltas) in enumerate(_streamed(head, answer)):
            yield _event("content_block_start", index=index, content_block=block)
            if not index:
                yield _event("ping")
            for delta in deltas:
                yield _event("content_block_delta", index=index, delta=delta)
            yield _event("content_block_stop", index=index)
        final = {**usage_object(usage, _INPUT, show_cache=True), "output_tokens": usage.output}
        ended = {"stop_reason": _STOPS[answer.finish], "stop_sequence": None}
        yield _event("message_delta", delta=ended, usage=final)
        yield _event("message_stop")

    def kept(self, prompt: Prompt, head: Head, answer: Answer) -> Prompt:
        """One more message."""
        if answer.tool is None:
            return Prompt((*prompt.segments, f"<assistant>{answer.text}"), prompt.ruler)
        call = msgspec.json.encode(_content(head, answer)[-1]).decode()
        return Prompt((*prompt.segments, f"<assistant>{call}"), prompt.ruler)


def _message(head: Head, report: Mapping[str, object], output: int) -> dict[str, Any]:
    return {
        "id": head.id,
        "type": "message",
        "role": "assistant",
        "model": head.model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**report, "output_tokens": output, "service_tier": "standard"},
    }


def _content(head: Head, answer: Answer) -> list[dict[str, Any]]:
    blocks: list[dict[str, Any]] = []
    if answer.thoughts:
        blocks.append({"type": "thinking", "thinking": answer.thoughts, "signature": _signature(head)})
    if answer.tool is not None:
        arguments = msgspec.json.decode(answer.text)
        blocks.append({"type": "tool_use", "id": _tool_id(head), "name": answer.tool, "input": arguments})
    elif answer.text:
        blocks.append({"type": "text", "text": answer.text})
    return blocks


def _streamed(head: Head, answer: Answer) -> Iterator[tuple[dict[str, Any], list[dict[str, str]]]]:
    """Each block as it starts, with its deltas."""
    if answer.thoughts:
        thought = {"type": "thinking_delta", "thinking": answer.thoughts}
        signed = {"type": "signature_delta", "signature": _signature(head)}
        yield {"type": "thinking", "thinking": "", "signature": ""}, [thought, signed]
    if answer.tool is not None:
        deltas = [{"type": "input_json_delta", "partial_json": piece} for piece in ("", *answer.pieces)]
        yield {"type": "tool_use", "id": _tool_id(head), "name": answer.tool, "input": {}}, deltas
    elif answer.text:
        yield {"type": "text", "text": ""}, [{"type": "text_delta", "text": piece} for piece in answer.pieces]


def _signature(head: Head) -> str:
    return "signed-" + head.id


def _tool_id(head: Head) -> str:
    return "toolu_" + call_id(head).removeprefix("call_")


def _event(name: str, **fields: object) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode({"type": name, **fields}) + b"\n\n"
