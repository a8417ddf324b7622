"""Messages as Anthropic's system prompt and alternating turns."""

from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from limpet_extproc.translation.calls import OpenCalls, check_name
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
    prefilled: bool
    """Whether the assistant has the last turn, from which the answer goes on. A model that thinks takes none."""


_MESSAGES: Final = msgspec.json.Decoder(list[_ChatMessage])
_OBJECT: Final = msgspec.json.Decoder(dict[str, Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_SIGNATURE: Final[msgspec.json.Decoder[str | None]] = msgspec.json.Decoder(str | None)
_SYSTEM: Final = ("system", "developer")
_THINKING: Final = ("thinking", "redacted_thinking")


def turns(raw: Raw) -> MessagesTurns:
    """The conversation in `messages`. Raises UntranslatableError."""
    messages = decoded(_MESSAGES, raw, "messages")
    leading = next((n for n, each in enumerate(messages) if each.role not in _SYSTEM), len(messages))
    if leading == len(messages) and messages:
        leading -= 1  # There has to be a turn: the last instruction becomes it.
    system = [
        block
        for n, each in enumerate(messages[:leading])
        for block in _marked_blocks(each, f"messages[{n}]", only_text=True)
    ]
    builder = _Builder()
    for number, message in enumerate(messages[leading:], leading):
        builder.add(message, f"messages[{number}]", alone=leading + 1 == len(messages))
    written = builder.messages()
    prefilled = written[-1]["role"] == "assistant"
    return MessagesTurns(system, written, tuple(dict.fromkeys(builder.called)), builder.unsigned_call, prefilled)


@dataclass
class _Turn:
    role: str
    results: list[MessagesBlock] = field(default_factory=list)
    """Of tools: they come before everything else."""
    said: list[MessagesBlock] = field(default_factory=list)


class _Builder:
    """Puts messages together to turns: those of one side that follow each other are one."""

    def __init__(self) -> None:
        self.called: list[str] = []
        self.unsigned_call = False
        self._turns: list[_Turn] = []
        self._calls = OpenCalls()

    def messages(self) -> list[MessagesBlock]:
        """All turns. Raises UntranslatableError if there are none."""
        self._calls.check_answered()
        if not self._turns:
            refuse("messages", "none of them has any content")
        last = self._turns[-1]
        if last.role == "assistant" and last.said[-1]["type"] == "text":
            # Anthropic goes on from it, and takes no white space at its end.
            last.said[-1] = {**last.said[-1], "text": last.said[-1]["text"].rstrip()}
        return [{"role": turn.role, "content": [*turn.results, *turn.said]} for turn in self._turns]

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
        if said:
            self._turn(role).said.extend(said)

    def _turn(self, role: str) -> _Turn:
        """The present turn of this side."""
        if not self._turns or self._turns[-1].role != role:
            if role == "assistant":
                self._calls.check_answered()
            self._turns.append(_Turn(role))
        return self._turns[-1]

    def _assistant(self, message: _ChatMessage, field: str) -> None:
        if given(message.function_call):
            refuse(f"{field}.function_call", "the old form of tool calls; send tool_calls")
        if given(message.audio):
            refuse(f"{field}.audio", "Anthropic takes no audio")
        said = list(blocks(message.content, f"{field}.content", only_text=True))
        if message.refusal and message.refusal.strip():
            said.append({"type": "text", "text": message.refusal})
        if not said and not message.tool_calls:
            return
        turn = self._turn("assistant")
        calls = [
            self._call(call, f"{field}.tool_calls[{number}]") for number, call in enumerate(message.tool_calls or ())
        ]
        thinking = [
            block
            for number, each in enumerate(message.thinking_blocks or ())
            for block in _thinking(each, f"{field}.thinking_blocks[{number}]")
        ]
        turn.said += [*thinking, *_last_marked([*said, *calls], message.cache_control)]
        self.unsigned_call = bool(calls) and not thinking

    def _call(self, call: _ToolCall, field: str) -> MessagesBlock:
        if call.function is None:
            refuse(f"{field}.type", f"Anthropic takes no calls of type '{call.type[:40]}'")
        check_name(call.function.name, f"{field}.function.name")
        self.called.append(call.function.name)
        arguments = call.function.arguments.strip() or "{}"
        decoded(_OBJECT, arguments.encode(), f"{field}.function.arguments")
        id_ = self._calls.begun(call.id, f"{field}.id")
        # As it was written: order and numbers are part of the cached prefix.
        return {"type": "tool_use", "id": id_, "name": call.function.name, "input": Raw(arguments.encode())}

    def _result(self, message: _ChatMessage, field: str) -> None:
        if message.tool_call_id is None:
            refuse(f"{field}.tool_call_id", "it is missing")
        id_ = self._calls.answered(message.tool_call_id, f"{field}.tool_call_id")
        said = list(blocks(message.content, f"{field}.content"))
        result: MessagesBlock = {"type": "tool_result", "tool_use_id": id_}
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
        self._turn("user").results.append(result)


def _thinking(block: dict[str, Raw], field: str) -> list[MessagesBlock]:
    """It as the provider signed it; nothing if nobody did, as then it takes it for forged."""
    type_ = decoded(_TEXT, block.get("type", ABSENT), f"{field}.type")
    if type_ not in _THINKING:
        refuse(f"{field}.type", f"write one of {', '.join(_THINKING)}")
    if type_ == "thinking" and not decoded(_SIGNATURE, block.get("signature", ABSENT), f"{field}.signature"):
        return []
    # Anthropic takes no breakpoint there.
    return [{key: value for key, value in block.items() if key not in ("index", "cache_control")}]


def _marked_blocks(message: _ChatMessage, field: str, *, only_text: bool = False) -> list[MessagesBlock]:
    said = list(blocks(message.content, f"{field}.content", only_text=only_text))
    return _last_marked(said, message.cache_control)


def _last_marked(said: list[MessagesBlock], cache_control: Raw) -> list[MessagesBlock]:
    """A message's own breakpoint is that of its last block."""
    return [*said[:-1], marked(said[-1], cache_control)] if said else said


def _as_reminder(block: MessagesBlock) -> MessagesBlock:
    """An instruction in the middle of a conversation.

    Only newer models take the role `system` there, and moving it to the front would change the prefix that is cached.
    """
    return {**block, "text": f"<system>\n{block['text']}\n</system>"} if block["type"] == "text" else block
