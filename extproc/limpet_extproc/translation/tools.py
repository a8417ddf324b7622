"""Tools, and which of them has to be called."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec
from msgspec import Raw

from limpet_extproc.translation.calls import check_name
from limpet_extproc.translation.content import marked
from limpet_extproc.translation.untranslatable import ABSENT, MessagesBlock, decoded, given, refuse


class _Declared(msgspec.Struct, frozen=True, gc=False):
    name: str
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None
    cache_control: Raw = ABSENT


class _Tool(msgspec.Struct, frozen=True, gc=False):
    type: str = "function"
    function: _Declared | None = None
    cache_control: Raw = ABSENT


class _Named(msgspec.Struct, frozen=True, gc=False):
    name: str


class _Choice(msgspec.Struct, frozen=True, gc=False):
    type: str
    function: _Named | None = None


_TOOLS: Final[msgspec.json.Decoder[list[_Tool]]] = msgspec.json.Decoder(list[_Tool])
_SCHEMA: Final = msgspec.json.Decoder(dict[str, Raw])
_CHOICE: Final[msgspec.json.Decoder[str | _Choice]] = msgspec.json.Decoder(str | _Choice)
_BOOLEAN: Final = msgspec.json.Decoder(bool)
_TYPE: Final[msgspec.json.Decoder[object]] = msgspec.json.Decoder()
_ANYTHING: Final = Raw(b'{"type":"object"}')
_NOT_AT_THE_TOP: Final = ("anyOf", "oneOf", "allOf")
_WORDS: Final = {"auto": "auto", "none": "none", "required": "any"}


def tools(raw: Raw) -> list[MessagesBlock]:
    """The tools. Raises UntranslatableError for others than functions, and for a name that two of them have."""
    if not given(raw):
        return []
    declared = decoded(_TOOLS, raw, "tools")
    found = [_tool(tool, f"tools[{number}]") for number, tool in enumerate(declared)]
    names: set[str] = set()
    for number, block in enumerate(found):
        if block["name"] in names:
            refuse(f"tools[{number}].function.name", "another tool has the same name")
        names.add(block["name"])
    return found


def undeclared(names: Sequence[str]) -> list[MessagesBlock]:
    """Tools that the conversation has called and the request no longer declares: Anthropic takes no calls without."""
    return [{"name": name, "input_schema": _ANYTHING} for name in names]


def tool_choice(choice: Raw, parallel: Raw, tools_: Sequence[MessagesBlock]) -> MessagesBlock | None:
    """Which tool has to be called; None where nothing has to be said. Raises UntranslatableError."""
    alone = given(parallel) and not decoded(_BOOLEAN, parallel, "parallel_tool_calls")
    chosen: dict[str, Any] | None = _chosen(choice) if given(choice) else {"type": "auto"} if alone else None
    if chosen is not None and chosen["type"] == "tool" and all(chosen["name"] != each["name"] for each in tools_):
        refuse("tool_choice.function.name", "no tool of this name is among the tools")
    if not tools_:
        if chosen is not None and chosen["type"] == "any":
            refuse("tool_choice", "there are no tools to call")
        return None
    if chosen is not None and alone and chosen["type"] != "none":
        chosen["disable_parallel_tool_use"] = True
    return chosen


def _tool(tool: _Tool, field: str) -> MessagesBlock:
    declared = tool.function
    if declared is None or tool.type != "function":
        refuse(f"{field}.type", f"Anthropic takes no tools of type '{tool.type[:40]}'")
    check_name(declared.name, f"{field}.function.name")
    block: MessagesBlock = {"name": declared.name}
    if declared.description:
        block["description"] = declared.description
    block["input_schema"] = _schema(declared.parameters, f"{field}.function.parameters")
    if declared.strict:
        block["strict"] = True
    return marked(block, tool.cache_control if given(tool.cache_control) else declared.cache_control)


def _schema(parameters: Raw, field: str) -> Raw | MessagesBlock:
    """As it was written, but it has to say that it is an object."""
    if not given(parameters):
        return _ANYTHING
    members = decoded(_SCHEMA, parameters, field)
    for name in _NOT_AT_THE_TOP:
        if name in members:
            refuse(f"{field}.{name}", "Anthropic takes none at the top of a schema")
    type_ = decoded(_TYPE, members.get("type", ABSENT), f"{field}.type")
    if type_ not in (None, "object"):
        refuse(f"{field}.type", "Anthropic takes object alone")
    return {**members, "type": "object"} if type_ is None else parameters


def _chosen(raw: Raw) -> MessagesBlock:
    choice = decoded(_CHOICE, raw, "tool_choice")
    if isinstance(choice, str):
        if choice not in _WORDS:
            refuse("tool_choice", f"write one of {', '.join(_WORDS)}, or name a function")
        return {"type": _WORDS[choice]}
    if choice.type != "function" or choice.function is None:
        refuse("tool_choice.type", f"Anthropic takes no choice of type '{choice.type[:40]}'")
    return {"type": "tool", "name": choice.function.name}
