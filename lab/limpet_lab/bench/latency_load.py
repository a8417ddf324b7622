"""What the load consists of: conversations as the official SDKs send them, all different, of an exact size."""

import json
from pathlib import Path
from typing import Any, Final

MODEL: Final = "bench/open-model"
SIZES: Final = {"2KB": 2_000, "12KB": 12_000, "100KB": 100_000}
"""Bytes of a request body by what the results call it."""
CONVERSATIONS: Final = 200
CLIENT_KEY: Final = "lpk-of-the-benchmarks"
"""What each request has, as `latency_wrk.lua` writes it; where no keys are asked for, it is anyone's."""
DIALECTS: Final = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}
"""Paths, by what the results call the API."""

_SYSTEM: Final = 600
_TURN: Final = 700
"""Characters of the system message and of every later one but the last, which fills up the size."""
_SENTENCES: Final = (
    "The harbour master keeps a ledger of every boat that leaves before dawn.",
    'Please compare the two drafts and say which one reads "plainer" and why.',
    "A function that returns early is easier to follow than a flag that is set in a loop.",
    "First measure, then change one thing, then measure again.\nWrite down both numbers.",
    "The tide tables for the coming week are attached below as plain text.",
    "If the input is empty, answer with an empty list and not with an error.",
    "def total(items):\n    return sum(item.price * item.count for item in items)",
)


def body(number: int, size: int, model: str = MODEL, dialect: str = "chat") -> bytes:
    """Conversation `number` as JSON of exactly `size` bytes. Raises ValueError if that is too small for one."""
    messages: list[dict[str, str]] = [
        {"role": "system", "content": f"You are assistant {number}. " + _prose(number, _SYSTEM)}
    ]
    for turn in range((size - 2 * _SYSTEM) // (_TURN + 100)):
        role = ("user", "assistant")[turn % 2]
        messages.append({"role": role, "content": f"Part {turn} of {number}: " + _prose(number + turn, _TURN)})
    if messages[-1]["role"] == "user":
        messages.append({"role": "assistant", "content": "Go on."})
    last = {"role": "user", "content": ""}
    request = _request(dialect, [*messages, last], model)
    missing = size - len(_encoded(request))
    if missing < 1:
        raise ValueError(f"{size} bytes are too few for a conversation, {size - missing + 1} is the least")
    last["content"] = ("and what follows from it for us " * (missing // 32 + 1))[:missing]
    return _encoded(request)


def _request(dialect: str, messages: list[dict[str, str]], model: str) -> dict[str, Any]:
    # The members in the order of the official SDKs.
    match dialect:
        case "messages":
            return {"max_tokens": 1000, "messages": messages[1:], "model": model, "system": messages[0]["content"]}
        case "responses":
            return {"input": messages[1:], "instructions": messages[0]["content"], "model": model, "store": False}
        case _:
            return {"messages": messages, "model": model, "temperature": 0.2}


def write_bodies(folder: Path, size: int, number: int = CONVERSATIONS, dialect: str = "chat") -> Path:
    """The folder, made and filled with `0.json` … for `number` conversations."""
    folder.mkdir()
    for each in range(number):
        folder.joinpath(f"{each}.json").write_bytes(body(each, size, dialect=dialect))
    return folder


def answer(dialect: str = "chat") -> bytes:
    """A short answer with usage, about 730 bytes, the same for everybody."""
    text = (
        "The two drafts differ in tone more than in substance; the second is plainer because it names who does what, "
        "when, and for whom. "
    )
    if dialect == "messages":
        return _encoded(_message(text * 3))
    if dialect == "responses":
        return _encoded(_response(text * 3))
    completion = {
        "id": "chatcmpl-000000000000000000000000",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": text * 3},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3000,
            "completion_tokens": 72,
            "total_tokens": 3072,
            "prompt_tokens_details": {"cached_tokens": 2944},
        },
    }
    return _encoded(completion)


def _message(text: str) -> dict[str, Any]:
    return {
        "id": "msg_000000000000000000000000",
        "type": "message",
        "role": "assistant",
        "model": MODEL,
        "content": [{"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": {
            "input_tokens": 56,
            "cache_creation_input_tokens": 0,
            "cache_read_input_tokens": 2944,
            "output_tokens": 72,
        },
    }


def _response(text: str) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {
        "id": "resp_000000000000000000000000",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "model": MODEL,
        "output": [{"type": "message", "id": "msg_0", "role": "assistant", "status": "completed", "content": content}],
        "usage": {
            "input_tokens": 3000,
            "input_tokens_details": {"cached_tokens": 2944},
            "output_tokens": 72,
            "total_tokens": 3072,
        },
    }


def _prose(start: int, length: int) -> str:
    text = " ".join(_SENTENCES[(start + step * (1 + start % 3)) % len(_SENTENCES)] for step in range(length // 50))
    return text[:length]


def _encoded(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
