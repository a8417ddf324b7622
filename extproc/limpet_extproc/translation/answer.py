"""An answer of Anthropic's Messages that came as a whole, as a chat completion."""

from typing import Any, Final

import msgspec
from msgspec import Raw

from limpet_extproc.translation.lenient import LenientDecoder, UnreadableAnswerError, encoded
from limpet_extproc.translation.untranslatable import ABSENT, given
from limpet_extproc.translation.usage import NO_USAGE, MessagesUsage, chat_tier, chat_usage

FINISH_REASONS: Final = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "pause_turn": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "refusal": "content_filter",
}
"""For each `stop_reason`; for one that is newer than this, `stop`."""


class AnswerBlock(msgspec.Struct, frozen=True, gc=False):
    """A block of an answer, of whatever type."""

    type: str = ""
    text: str = ""
    id: str = ""
    name: str = ""
    input: Raw = ABSENT
    thinking: str = ""
    signature: str = ""
    data: str = ""


class _WholeAnswer(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    id: str = ""
    model: str = ""
    content: list[AnswerBlock] | None = None
    stop_reason: str | None = None
    usage: MessagesUsage = NO_USAGE


_ANSWER: Final = LenientDecoder(_WholeAnswer)


def chat_completion(body: bytes, created: int) -> bytes:
    """The completion. `created`: Unix seconds. Raises UnreadableAnswerError for what is no answer."""
    answer = _ANSWER.decode(body)
    if answer.content is None and answer.type != "message":
        raise UnreadableAnswerError
    completion: dict[str, Any] = {
        "id": answer.id,
        "object": "chat.completion",
        "created": created,
        "model": answer.model,
        "choices": [
            {
                "index": 0,
                "message": _message(answer.content or []),
                "logprobs": None,
                "finish_reason": finish_reason(answer.stop_reason),
            }
        ],
    }
    if (usage := chat_usage(answer.usage)) is not None:
        completion["usage"] = usage
    if (tier := chat_tier(answer.usage)) is not None:
        completion["service_tier"] = tier
    return encoded(completion)


def finish_reason(stop_reason: str | None) -> str:
    """OpenAI's word for why an answer ended."""
    return FINISH_REASONS.get(stop_reason or "", "stop")


TEXT: Final = ("text", "")
"""Types of what is text; one that is missing is no reason to lose any."""


def call_id(number: int) -> str:
    """That of a tool call which came without."""
    return f"call_{number}"


def thinking_block(block: AnswerBlock) -> dict[str, Any]:
    """A block of thinking as the provider wants it back, signed."""
    if block.type == "redacted_thinking":
        return {"type": block.type, "data": block.data}
    return {"type": block.type, "thinking": block.thinking, "signature": block.signature}


def is_thinking(block: AnswerBlock) -> bool:
    """Whether it is a block of thinking, readable or not."""
    return block.type in ("thinking", "redacted_thinking")


def _message(content: list[AnswerBlock]) -> dict[str, Any]:
    text = "".join(block.text for block in content if block.type in TEXT)
    used = [block for block in content if block.type == "tool_use"]
    calls = [
        {
            "id": block.id or call_id(number),
            "type": "function",
            "function": {"name": block.name, "arguments": bytes(block.input).decode() if given(block.input) else "{}"},
        }
        for number, block in enumerate(used)
    ]
    message: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text, "refusal": None}
    if calls:
        message["tool_calls"] = calls
    if reasoning := "".join(block.thinking for block in content if is_thinking(block)):
        message["reasoning_content"] = reasoning
    if thinking := [thinking_block(block) for block in content if is_thinking(block)]:
        message["thinking_blocks"] = thinking
    return message
