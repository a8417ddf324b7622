"""A stream of Anthropic's Messages as one of chat completions, while it comes."""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from limpet_extproc.translation.answer import AnswerBlock, finish_reason, is_thinking, thinking_block
from limpet_extproc.translation.errors import error_object
from limpet_extproc.translation.untranslatable import given
from limpet_extproc.translation.usage import NO_USAGE, MessagesUsage, chat_usage, merged

MAX_EVENT_BYTES: Final = 4 << 20
"""Of one event; a longer one is no answer."""


class _StreamedMessage(msgspec.Struct, frozen=True, gc=False):
    id: str = ""
    model: str = ""
    usage: MessagesUsage = NO_USAGE


class _Delta(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    text: str = ""
    thinking: str = ""
    signature: str = ""
    partial_json: str = ""
    stop_reason: str | None = None


class _StreamError(msgspec.Struct, frozen=True, gc=False):
    message: str = "The provider gave no reason."
    type: str = "api_error"


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    message: _StreamedMessage = _StreamedMessage()
    index: int = 0
    content_block: AnswerBlock = AnswerBlock("")
    delta: _Delta = _Delta()
    usage: MessagesUsage = NO_USAGE
    error: _StreamError = _StreamError()


_EVENT: Final = msgspec.json.Decoder(_Event)
_UNREADABLE: Final = (msgspec.MsgspecError, RecursionError, UnicodeError)
_DONE: Final = b"data: [DONE]\n\n"
_PING: Final = b": ping\n\n"
"""A comment: it keeps a connection open, and SDKs pass over it."""


class StreamTranslation:
    """Fed with a stream's bytes as they come, it gives those of the other."""

    def __init__(self, created: int, *, usage_asked: bool) -> None:
        """`created`: Unix seconds; `usage_asked`: the stream ends with its usage."""
        self._created = created
        self._usage_asked = usage_asked
        self._pending = b""
        """The beginning of a line."""
        self._message = _StreamedMessage()
        self._usage = NO_USAGE
        self._calls: dict[int, int] = {}
        """Number of the tool call that a block is."""
        self._without_arguments: set[int] = set()
        """Blocks of tool calls whose arguments have not begun."""
        self._thoughts: dict[int, AnswerBlock] = {}
        """Blocks of thinking that have not ended."""
        self._thought = 0
        self._finish: str | None = None
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        """What follows from these bytes."""
        lines = (self._pending + data).splitlines(keepends=True)
        # The second half of a line's end may be yet to come, and is then an empty line.
        self._pending = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        out = b"".join(part for line in lines for part in self._line(line))
        if len(self._pending) > MAX_EVENT_BYTES:
            self._pending = b""
            return out + b"".join(self._fail("The provider sent an event that is too long.", "api_error"))
        return out

    def end(self) -> bytes:
        """What follows from the end: an error, if the message had not ended, so that no client takes it for whole."""
        out = b"".join(self._line(self._pending)) if self._pending else b""
        self._pending = b""
        if self._ended:
            return out
        return out + b"".join(self._fail("The provider's answer ended before its end.", "api_error"))

    def _line(self, line: bytes) -> Iterator[bytes]:
        if self._ended or not line.startswith(b"data:"):
            return
        try:
            event = _EVENT.decode(line[5:].strip())
        except _UNREADABLE:
            yield from self._fail("The provider sent an event that cannot be read.", "api_error")
            return
        yield from self._event(event)

    def _event(self, event: _Event) -> Iterator[bytes]:
        match event.type:
            case "message_start":
                self._message = event.message
                self._usage = event.message.usage
                yield self._chunk({"role": "assistant", "content": "", "refusal": None})
            case "content_block_start":
                yield from self._begin(event.index, event.content_block)
            case "content_block_delta":
                yield from self._go_on(event.index, event.delta)
            case "content_block_stop":
                yield from self._stop(event.index)
            case "message_delta":
                self._usage = merged(self._usage, event.usage)
                self._finish = event.delta.stop_reason or self._finish
            case "message_stop":
                yield from self._finished()
            case "ping":
                yield _PING
            case "error":
                yield from self._fail(event.error.message, event.error.type)

    def _begin(self, index: int, block: AnswerBlock) -> Iterator[bytes]:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            arguments = bytes(block.input).decode() if given(block.input) and bytes(block.input) != b"{}" else ""
            if not arguments:
                self._without_arguments.add(index)
            call = {"name": block.name, "arguments": arguments}
            yield self._chunk({"tool_calls": [{"index": number, "id": block.id, "type": "function", "function": call}]})
        elif is_thinking(block):
            self._thoughts[index] = block
            if block.thinking:
                yield self._chunk({"reasoning_content": block.thinking})
        elif block.type == "text" and block.text:
            yield self._chunk({"content": block.text})

    def _go_on(self, index: int, delta: _Delta) -> Iterator[bytes]:
        if delta.text:
            yield self._chunk({"content": delta.text})
        elif delta.thinking:
            self._think(index, delta)
            yield self._chunk({"reasoning_content": delta.thinking})
        elif delta.signature:
            self._think(index, delta)
        elif delta.partial_json and index in self._calls:
            self._without_arguments.discard(index)
            yield self._arguments(index, delta.partial_json)

    def _think(self, index: int, delta: _Delta) -> None:
        if (block := self._thoughts.get(index)) is not None:
            self._thoughts[index] = msgspec.structs.replace(
                block, thinking=block.thinking + delta.thinking, signature=block.signature + delta.signature
            )

    def _stop(self, index: int) -> Iterator[bytes]:
        if index in self._without_arguments:
            self._without_arguments.discard(index)
            yield self._arguments(index, "{}")
        if (block := self._thoughts.pop(index, None)) is not None:
            yield self._chunk({"thinking_blocks": [{"index": self._thought, **thinking_block(block)}]})
            self._thought += 1

    def _arguments(self, index: int, text: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": text}}]})

    def _finished(self) -> Iterator[bytes]:
        self._ended = True
        yield self._chunk({}, finish_reason(self._finish))
        if self._usage_asked and (usage := chat_usage(self._usage)) is not None:
            yield _data({**self._head(), "choices": [], "usage": usage})
        yield _DONE

    def _fail(self, message: str, type_: str) -> Iterator[bytes]:
        self._ended = True
        yield _data(error_object(message, type_))

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return _data({**self._head(), "choices": [choice], **({"usage": None} if self._usage_asked else {})})

    def _head(self) -> dict[str, Any]:
        return {
            "id": self._message.id,
            "object": "chat.completion.chunk",
            "created": self._created,
            "model": self._message.model,
        }


def _data(event: dict[str, Any]) -> bytes:
    return b"data: " + msgspec.json.encode(event) + b"\n\n"
