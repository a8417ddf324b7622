"""How chat completions are answered: OpenAI's completion object and chunks, with the usage fields of the vendor."""

from collections.abc import Iterator, Mapping

import msgspec

from limpet_lab.sim.answer import Answer
from limpet_lab.sim.prompt import Prompt
from limpet_lab.sim.rules import VendorRules
from limpet_lab.sim.wire import Head, Usage, call_id, usage_object


class ChatWriter:
    """`include_usage`: as the client's `stream_options` ask."""

    id_prefix = "chatcmpl-"

    def __init__(self, rules: VendorRules, *, include_usage: bool, show_cache: bool) -> None:
        self._rules, self._show_cache = rules, show_cache
        self._in_stream = include_usage or rules.stream_usage == "Always"

    def whole(self, head: Head, answer: Answer, usage: Usage) -> bytes:
        """A completion."""
        return _completion(head, answer, self._report(usage))

    def events(self, head: Head, answer: Answer, usage: Usage) -> Iterator[bytes]:
        """Its chunks; where usage is not asked for, none mentions it."""
        return _events(head, answer, self._report(usage) if self._in_stream else None)

    def kept(self, prompt: Prompt, head: Head, answer: Answer) -> Prompt:
        """One more message."""
        return prompt.then(answer.message(call_id(head)))

    def _report(self, usage: Usage) -> dict[str, object]:
        return usage_object(usage, self._rules.usage, show_cache=self._show_cache)


def _completion(head: Head, answer: Answer, usage: Mapping[str, object]) -> bytes:
    message = answer.message(call_id(head)) | {"refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
    return msgspec.json.encode(
        {
            "id": head.id,
            "object": "chat.completion",
            "created": head.created,
            "model": head.model,
            "choices": [choice],
            "usage": usage,
        }
    )


def _events(head: Head, answer: Answer, usage: Mapping[str, object] | None) -> Iterator[bytes]:
    extra: dict[str, object] = {} if usage is None else {"usage": None}
    first, rest = _deltas(head, answer)
    yield _event(head, _choice(first), extra)
    for delta in rest:
        yield _event(head, _choice(delta), extra)
    yield _event(head, _choice({}, answer.finish), extra)
    if usage is not None:
        yield _event(head, [], {"usage": usage})
    yield b"data: [DONE]\n\n"


def _deltas(head: Head, answer: Answer) -> tuple[dict[str, object], list[dict[str, object]]]:
    if answer.tool is None:
        return {"role": "assistant", "content": "", "refusal": None}, [{"content": piece} for piece in answer.pieces]
    call = {"index": 0, "id": call_id(head), "type": "function", "function": {"name": answer.tool, "arguments": ""}}
    rest: list[dict[str, object]] = [
        {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in answer.pieces
    ]
    return {"role": "assistant", "content": None, "tool_calls": [call]}, rest


def _choice(delta: Mapping[str, object], finish: str | None = None) -> list[dict[str, object]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]


def _event(head: Head, choices: list[dict[str, object]], extra: Mapping[str, object]) -> bytes:
    chunk = {
        "id": head.id,
        "object": "chat.completion.chunk",
        "created": head.created,
        "model": head.model,
        "choices": choices,
    }
    return b"data: " + msgspec.json.encode({**chunk, **extra}) + b"\n\n"
