"""Answers with a usage as each vendor writes it: `usage_of_vendors.yaml`, whole and streamed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

_SAID: Final = "At home on its rock."
_HEAD: Final[dict[str, Any]] = {"id": "a1", "created": 1, "model": "m"}


@dataclass(frozen=True, slots=True)
class VendorUsage:
    """One way in which a vendor reports."""

    vendor: str
    usage: Mapping[str, Any]
    tokens: Mapping[str, int]
    api: str = "OpenAIChat"
    beside: Mapping[str, Any] = field(default_factory=dict)
    at: str = "chunk"

    def __str__(self) -> str:
        where = "" if self.at == "chunk" else f"-{self.at}"
        return f"{self.vendor}-{self.api}{where}-{len(self.usage)}"

    @property
    def comes_whole(self) -> bool:
        """Whether an answer that comes at once has its usage in the usual place."""
        return self.at not in ("choice", "x_groq")

    def whole(self) -> dict[str, Any]:
        """An answer that comes at once."""
        end = {"usage": self.usage, **self.beside}
        if self.api == "AnthropicMessages":
            content = [{"type": "text", "text": _SAID}]
            return {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content, **end}
        if self.api == "OpenAIResponses":
            return {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [], **end}
        message = {"role": "assistant", "content": _SAID}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {**_HEAD, "object": "chat.completion", "choices": [choice], **end}

    def events(self) -> list[bytes]:
        """The same as a stream."""
        if self.api == "AnthropicMessages":
            at_first = {**self.usage, "output_tokens": 1}
            message = {"id": "msg_1", "type": "message", "model": "m", "content": [], "usage": at_first}
            delta = {"type": "text_delta", "text": _SAID}
            return [
                _named("message_start", message=message),
                _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
                _named("ping"),
                _named("content_block_delta", index=0, delta=delta),
                _named("message_delta", delta={"stop_reason": "end_turn"}, usage=self._at_the_end()),
                _named("message_stop"),
            ]
        if self.api == "OpenAIResponses":
            begun = {"id": "resp_1", "object": "response", "status": "in_progress", "model": "m", "usage": None}
            return [
                _named("response.created", response=begun),
                _named("response.output_text.delta", delta=_SAID),
                _named("response.completed", response=self.whole()),
            ]
        return self._chunks()

    def _at_the_end(self) -> dict[str, Any]:
        """Of a message: the counts again, without how long what was written lives."""
        return {name: value for name, value in self.usage.items() if isinstance(value, int)}

    def _chunks(self) -> list[bytes]:
        head = {**_HEAD, "object": "chat.completion.chunk"}
        said = {"index": 0, "delta": {"role": "assistant", "content": _SAID}, "finish_reason": None}
        end: dict[str, Any] = {"index": 0, "delta": {}, "finish_reason": "stop"}
        report = {"usage": self.usage, **self.beside}
        last: list[dict[str, Any]] = {
            "chunk": [{**head, "choices": [end], "usage": None}, {**head, "choices": [], **report}],
            "choice_chunk": [{**head, "choices": [end], **report}],
            "choice": [{**head, "choices": [{**end, "usage": self.usage}]}],
            "x_groq": [{**head, "choices": [end], "x_groq": {"id": "req_1", "usage": self.usage}}],
        }[self.at]
        return [*(_data(each) for each in ({**head, "choices": [said]}, *last)), b"data: [DONE]\n\n"]


def _data(value: object) -> bytes:
    return b"data: " + json.dumps(value, separators=(",", ":")).encode() + b"\n\n"


def _named(name: str, **members: Any) -> bytes:
    return f"event: {name}\n".encode() + _data({"type": name, **members})


VENDOR_USAGES: Final = [
    VendorUsage(vendor, **each)
    for vendor, ways in yaml.safe_load(Path(__file__).with_name("usage_of_vendors.yaml").read_text()).items()
    for each in ways
]
"""All of them."""


def client_sees(usage: Mapping[str, Any] | None) -> dict[str, int]:
    """The numbers that a client of OpenAI's API finds in a usage, by the names that they are noted under."""
    if usage is None:
        return {}
    details = usage.get("prompt_tokens_details") or usage.get("input_tokens_details") or {}
    numbers = {
        "prompt": usage.get("prompt_tokens", usage.get("input_tokens")),
        "cached": details.get("cached_tokens"),
        "written": details.get("cache_write_tokens"),
    }
    return {name: number for name, number in numbers.items() if number is not None}


def last_usage(body: bytes) -> Any:
    """The usage of an answer as a client reads it: of a stream the last one."""
    if body.lstrip().startswith(b"{"):
        return json.loads(body).get("usage")
    found = None
    for line in body.splitlines():
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            found = event.get("usage") or (event.get("response") or {}).get("usage") or found
    return found
