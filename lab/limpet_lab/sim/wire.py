"""How an answer looks on the wire: OpenAI's completion object and chunks, with the usage fields of the vendor."""

from collections.abc import Iterator, Mapping

import msgspec

from limpet_lab.sim.answer import Answer
from limpet_lab.sim.rules import Quantity


class Usage(msgspec.Struct, frozen=True):
    """Tokens of one request. `cached` and `written` are parts of `prompt`."""

    prompt: int
    cached: int
    written: int
    output: int

    def amount(self, quantity: Quantity) -> int:
        """The number behind a word of the vendor's usage table."""
        match quantity:
            case "prompt":
                return self.prompt
            case "output":
                return self.output
            case "total":
                return self.prompt + self.output
            case "cached":
                return self.cached
            case "missed":
                return self.prompt - self.cached
            case "written":
                return self.written
            case "zero":
                return 0


class Head(msgspec.Struct, frozen=True):
    """What every chunk of an answer repeats."""

    id: str
    created: int
    """Seconds since 1970."""
    model: str


def usage_object(usage: Usage, shape: Mapping[str, Quantity], *, show_cache: bool) -> dict[str, object]:
    """The usage report in a vendor's shape: dotted paths become nested objects."""
    report: dict[str, object] = {}
    for path, quantity in shape.items():
        if not show_cache and quantity in ("cached", "missed", "written"):
            continue
        *parents, leaf = path.split(".")
        place = report
        for parent in parents:
            inner = place.setdefault(parent, {})
            assert isinstance(inner, dict)
            place = inner
        place[leaf] = usage.amount(quantity)
    return report


def completion(head: Head, answer: Answer, usage: Mapping[str, object]) -> bytes:
    """The whole answer as one JSON object."""
    message = answer.message(_call_id(head)) | {"refusal": None}
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


def events(head: Head, answer: Answer, usage: Mapping[str, object] | None) -> Iterator[bytes]:
    """The answer as server-sent events; without `usage`, which the client did not ask for, no chunk mentions it."""
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
    call = {"index": 0, "id": _call_id(head), "type": "function", "function": {"name": answer.tool, "arguments": ""}}
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


def _call_id(head: Head) -> str:
    return "call_" + head.id.rpartition("-")[2]
