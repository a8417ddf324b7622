"""A stream of Anthropic's Messages as one of chat completions, while it comes."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from limpet_extproc.translation.answer import TEXT, AnswerBlock, call_id, finish_reason, is_thinking, thinking_block
from limpet_extproc.translation.errors import NO_REASON, MessagesError, error_object
from limpet_extproc.translation.lenient import LenientDecoder, UnreadableAnswerError, encoded, mended
from limpet_extproc.translation.sse import EventReader, EventTooLongError
from limpet_extproc.translation.untranslatable import given
from limpet_extproc.translation.usage import NO_USAGE, MessagesUsage, chat_usage, merged


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


class _Event(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    message: _StreamedMessage = _StreamedMessage()
    index: int = 0
    content_block: AnswerBlock = AnswerBlock()
    delta: _Delta = _Delta()
    usage: MessagesUsage = NO_USAGE
    error: MessagesError | str = ""


@dataclass
class _Thought:
    """A block of thinking that has not ended."""

    block: AnswerBlock
    thinking: list[str] = field(default_factory=list)
    signature: list[str] = field(default_factory=list)


_EVENT: Final = LenientDecoder(_Event)
_END_OF_OPENAI: Final = b"[DONE]"
_HALF: Final = re.compile("[\ud800-\udfff]")
_FIRST_HALF: Final = re.compile("[\ud800-\udbff]\\Z")
_DONE: Final = b"data: [DONE]\n\n"
_PING: Final = b": ping\n\n"
"""A comment: it keeps a connection open, and SDKs pass over it."""


class StreamTranslation:
    """Fed with a stream's bytes as they come, it gives those of the other."""

    def __init__(self, created: int, *, usage_asked: bool) -> None:
        """`created`: Unix seconds; `usage_asked`: the stream ends with its usage."""
        self._created = created
        self._usage_asked = usage_asked
        self._events = EventReader()
        self._begun = False
        self._message = _StreamedMessage()
        self._usage = NO_USAGE
        self._calls: dict[int, int] = {}
        """Number of the tool call that a block is."""
        self._without_arguments: set[int] = set()
        """Blocks of tool calls whose arguments have not begun."""
        self._thoughts: dict[int, _Thought] = {}
        self._halves: dict[int, str] = {}
        """First halves of surrogate pairs, by the block whose last delta ended with it."""
        self._thought = 0
        self._finish: str | None = None
        self._ended = False

    def feed(self, data: bytes) -> bytes:
        """What follows from these bytes."""
        return b"" if self._ended else b"".join(self._fed(data))

    def end(self) -> bytes:
        """What follows from the end: an error, if the message had not ended, so that no client takes it for whole."""
        return b"" if self._ended else b"".join(self._at_end())

    def _fed(self, data: bytes) -> Iterator[bytes]:
        try:
            for each in self._events.feed(data):
                yield from self._read(each)
        except EventTooLongError:
            yield from self._fail("The provider sent an event that is too long.", "api_error")

    def _at_end(self) -> Iterator[bytes]:
        for each in self._events.end():
            yield from self._read(each)
        if not self._ended:
            yield from self._fail("The provider's answer ended before its end.", "api_error")

    def _read(self, data: bytes) -> Iterator[bytes]:
        """Events are JSON objects. What is no object is none; what is no JSON may have been one."""
        if self._ended:
            return
        if data == _END_OF_OPENAI:
            if self._finish is not None:
                yield from self._finished()
            return
        try:
            event = _EVENT.decode(data)
        except UnreadableAnswerError:
            if b"\n" in data:  # several events without an empty line between them
                for line in data.split(b"\n"):
                    yield from self._read(line)
            elif data.startswith(b"{"):
                yield from self._fail("The provider sent an event that cannot be read.", "api_error")
            return
        yield from self._event(event)

    def _event(self, event: _Event) -> Iterator[bytes]:
        match event.type:
            case "message_start":
                self._message = event.message
                self._usage = event.message.usage
                if self._begun:
                    return
                self._begun = True
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
                error = MessagesError(event.error) if isinstance(event.error, str) else event.error
                yield from self._fail(error.message or NO_REASON, error.type or "api_error")

    def _begin(self, index: int, block: AnswerBlock) -> Iterator[bytes]:
        if block.type == "tool_use":
            number = self._calls[index] = len(self._calls)
            arguments = bytes(block.input).decode() if given(block.input) and bytes(block.input) != b"{}" else ""
            if not arguments:
                self._without_arguments.add(index)
            call = {"name": block.name, "arguments": arguments}
            begins = {"index": number, "id": block.id or call_id(number), "type": "function", "function": call}
            yield self._chunk({"tool_calls": [begins]})
        elif is_thinking(block):
            self._thoughts[index] = _Thought(block, [block.thinking], [block.signature])
            if block.thinking:
                yield self._chunk({"reasoning_content": block.thinking})
        elif block.type in TEXT and block.text:
            yield self._chunk({"content": block.text})

    def _go_on(self, index: int, delta: _Delta) -> Iterator[bytes]:
        thought = self._thoughts.get(index)
        match delta.type:
            case "text_delta" | "" if text := self._whole(index, delta.text):
                yield self._chunk({"content": text})
            case "thinking_delta" if text := self._whole(index, delta.thinking):
                if thought is not None:
                    thought.thinking.append(text)
                yield self._chunk({"reasoning_content": text})
            case "signature_delta" if thought is not None:
                thought.signature.append(delta.signature)
            case "input_json_delta" if index in self._calls and (text := self._whole(index, delta.partial_json)):
                self._without_arguments.discard(index)
                yield self._arguments(index, text)

    def _whole(self, index: int, text: str) -> str:
        """The text without the first half of a character at its end, which comes with the next delta's."""
        before = self._halves.pop(index, "")
        if not before and _HALF.search(text) is None:
            return text
        text = before + text
        if _FIRST_HALF.search(text):
            self._halves[index], text = text[-1], text[:-1]
        return mended(text)

    def _stop(self, index: int) -> Iterator[bytes]:
        if index in self._without_arguments:
            self._without_arguments.discard(index)
            yield self._arguments(index, "{}")
        if (thought := self._thoughts.pop(index, None)) is not None:
            block = msgspec.structs.replace(
                thought.block, thinking="".join(thought.thinking), signature="".join(thought.signature)
            )
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
    return b"data: " + encoded(event) + b"\n\n"
