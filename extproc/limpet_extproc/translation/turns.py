"""Messages as Anthropic's system prompt and alternating turns."""

import re
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from limpet_extproc.translation.content import Content, blocks, marked
from limpet_extproc.translation.untranslatable import ABSENT, MessagesBlock, decoded, given, refuse


class _Function(msgspec.Struct, frozen=True, gc=False):
    name: str
    arguments: str = ""


class _ToolCall(msgspec.Struct, frozen=True, gc=False):
    id: str
    function: _Function | None = None
    type: str = "function"


class _ChatMessage(msgspec.Struct, frozen=True, gc=False):
    role: str
    content: Content = None
    refusal: str | None = None
    tool_calls: list[_ToolCall] | None = None
    tool_call_id: str | None = None
    thinking_blocks: list[dict[str, Raw]] | None = None
    function_call: Raw = ABSENT
    audio: Raw = ABSENT
    cache_control: Raw = ABSENT


class MessagesTurns(NamedTuple):
    """A conversation as the Messages API has it."""

    system: list[MessagesBlock]
    messages: list[MessagesBlock]
    called: tuple[str, ...]
    """Names of all tools that were called."""
    unsigned_call: bool
    """Whether the last turn of the assistant called a tool, and its thinking is not here: thinking by a budget could
    not go on from there."""


_MESSAGES: Final = msgspec.json.Decoder(list[_ChatMessage])
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_SYSTEM: Final = ("system", "developer")
_ODD: Final = re.compile(r"[^a-zA-Z0-9_-]")
"""What an id of a tool call may not have."""


def turns(raw: Raw) -> MessagesTurns:
    """The conversation in `messages`. Raises UntranslatableError."""
    messages = decoded(_MESSAGES, raw, "messages")
    leading = next((n for n, each in enumerate(messages) if each.role not in _SYSTEM), len(messages))
    if leading == len(messages) and messages:
        leading -= 1  # There has to be a turn: the last instruction becomes it.
    system = [block for n, each in enumerate(messages[:leading]) for block in _marked_blocks(each, f"messages[{n}]")]
    builder = _Builder()
    for number, message in enumerate(messages[leading:], leading):
        builder.add(message, f"messages[{number}]", alone=leading + 1 == len(messages))
    return MessagesTurns(system, builder.messages, tuple(dict.fromkeys(builder.called)), builder.unsigned_call)


class _Builder:
    """Puts messages together to turns: those of one side that follow each other are one."""

    def __init__(self) -> None:
        self.messages: list[MessagesBlock] = []
        self.called: list[str] = []
        self.unsigned_call = False
        self._results = 0
        """Tool results at the beginning of the present turn: they come before everything else in it."""

    def add(self, message: _ChatMessage, field: str, *, alone: bool) -> None:
        match message.role:
            case "user":
                self._say("user", _marked_blocks(message, field))
            case "system" | "developer":
                said = _marked_blocks(message, field)
                self._say("user", said if alone else [_as_reminder(block) for block in said])
            case "assistant":
                self._assistant(message, field)
            case "tool":
                self._result(message, field)
            case other:
                refuse(f"{field}.role", f"'{other[:40]}' is no role; write system, developer, user, assistant or tool")

    def _say(self, role: str, said: list[MessagesBlock]) -> None:
        if not said:
            return
        if self.messages and self.messages[-1]["role"] == role:
            self.messages[-1]["content"] += said
        else:
            self.messages.append({"role": role, "content": said})
            self._results = 0

    def _assistant(self, message: _ChatMessage, field: str) -> None:
        if given(message.function_call):
            refuse(f"{field}.function_call", "the old form of tool calls; send tool_calls")
        if given(message.audio):
            refuse(f"{field}.audio", "Anthropic takes no audio")
        thinking: list[MessagesBlock] = [
            {key: value for key, value in block.items() if key != "index"} for block in message.thinking_blocks or ()
        ]
        said = list(blocks(message.content, f"{field}.content"))
        if message.refusal:
            said.append({"type": "text", "text": message.refusal})
        calls = [
            self._call(call, f"{field}.tool_calls[{number}]") for number, call in enumerate(message.tool_calls or ())
        ]
        self._say("assistant", _last_marked([*thinking, *said, *calls], message.cache_control))
        self.unsigned_call = bool(calls) and not thinking

    def _call(self, call: _ToolCall, field: str) -> MessagesBlock:
        if call.function is None:
            refuse(f"{field}.type", f"Anthropic takes no calls of type '{call.type[:40]}'")
        self.called.append(call.function.name)
        arguments = call.function.arguments.strip() or "{}"
        decoded(_OBJECT, arguments.encode(), f"{field}.function.arguments")
        # As it was written: order and numbers are part of the cached prefix.
        return {"type": "tool_use", "id": _id(call.id), "name": call.function.name, "input": Raw(arguments.encode())}

    def _result(self, message: _ChatMessage, field: str) -> None:
        if message.tool_call_id is None:
            refuse(f"{field}.tool_call_id", "it is missing")
        said = list(blocks(message.content, f"{field}.content"))
        result: MessagesBlock = {"type": "tool_result", "tool_use_id": _id(message.tool_call_id)}
        if isinstance(message.content, str):
            result["content"] = message.content
        elif [each["type"] for each in said] == ["text"]:
            # In one form, as a text becomes a part where a breakpoint is put.
            result["content"] = said[0]["text"]
        elif said:
            result["content"] = [{key: each[key] for key in each if key != "cache_control"} for each in said]
        # What is in a block cannot have a breakpoint, but the block can.
        of_parts = [each["cache_control"] for each in said if "cache_control" in each]
        result = marked(result, message.cache_control if given(message.cache_control) or not of_parts else of_parts[-1])
        if self.messages and self.messages[-1]["role"] == "user":
            self.messages[-1]["content"].insert(self._results, result)
            self._results += 1
        else:
            self._say("user", [result])
            self._results = 1


def _marked_blocks(message: _ChatMessage, field: str) -> list[MessagesBlock]:
    return _last_marked(list(blocks(message.content, f"{field}.content")), message.cache_control)


def _last_marked(said: list[MessagesBlock], cache_control: Raw) -> list[MessagesBlock]:
    """A message's own breakpoint is that of its last block."""
    return [*said[:-1], marked(said[-1], cache_control)] if said else said


def _as_reminder(block: MessagesBlock) -> MessagesBlock:
    """An instruction in the middle of a conversation.

    Only newer models take the role `system` there, and moving it to the front would change the prefix that is cached.
    """
    return {**block, "text": f"<system>\n{block['text']}\n</system>"} if block["type"] == "text" else block


def _id(written: str) -> str:
    return _ODD.sub("_", written)
