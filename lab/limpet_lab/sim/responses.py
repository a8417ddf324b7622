"""What a client asked for in OpenAI's Responses API, checked the way that API checks it."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from limpet_lab.sim.chat import json_object, thoughts
from limpet_lab.sim.prompt import Prompt, Ruler, picture, text_of
from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.responses_store import ResponseStore
from limpet_lab.sim.turn import AskedTurn

_ROLES: Final = ("user", "assistant", "system", "developer")
_TEXTS: Final = ("input_text", "output_text", "text", "refusal")
_VOLATILE: Final = ("id", "status", "prompt_cache_breakpoint")

Item = dict[str, Any]


class AskedResponse(msgspec.Struct, frozen=True):
    """A valid request."""

    turn: AskedTurn
    fields: Mapping[str, Any]
    """As they were sent."""
    given: tuple[Item, ...]
    """What the request itself brings."""
    context: tuple[Item, ...]
    """All that the model reads, instructions aside."""
    conversation: str | None
    store: bool
    background: bool


def read_response(
    data: bytes, known_fields: frozenset[str] | None, ruler: Ruler, store: ResponseStore, account: str
) -> AskedResponse:
    """Check a request body. Raises RefusalError with status 400, or 404 for a conversation that is not there."""
    fields: dict[str, Any] = json_object(data)
    for name in fields:
        if known_fields is not None and name not in known_fields:
            raise RefusalError(400, f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    model = fields.get("model")
    _require(isinstance(model, str) and bool(model), "model", "Missing required parameter: 'model'.")
    for name in ("stream", "store", "background", "parallel_tool_calls"):
        _require(
            isinstance(fields.get(name, False), bool | None), name, f"Invalid type for '{name}': expected a boolean."
        )
    limit = fields.get("max_output_tokens")
    _require(
        limit is None or (isinstance(limit, int) and limit >= 1), "max_output_tokens", "Invalid 'max_output_tokens'."
    )
    given = _items(fields.get("input"))
    earlier, conversation = _earlier(fields, store, account)
    context = (*earlier, *given)
    tools = fields.get("tools") or []
    _require(isinstance(tools, list) and all(map(_is_tool, tools)), "tools", "'tools' must be an array of tools.")
    reasoning = fields.get("reasoning")
    turn = AskedTurn(
        fields,
        str(model),
        _prompt(fields, tools, context, ruler),
        fields.get("stream") is True,
        limit,
        _wanted_tool(fields, tools, context),
        _schema(fields.get("text")),
        reasoning=thoughts(reasoning.get("effort")) if isinstance(reasoning, dict) else 0,
    )
    keeps = fields.get("store") is not False
    return AskedResponse(turn, fields, given, context, conversation, keeps, fields.get("background") is True)


def rendered(item: Mapping[str, Any], ruler: Ruler) -> str:
    """What the model sees of an item."""
    if item.get("type", "message") != "message":
        return "<item>" + msgspec.json.encode({k: v for k, v in item.items() if k not in _VOLATILE}).decode()
    content = item["content"]
    parts = (
        [content]
        if isinstance(content, str)
        else [part["text"] if part["type"] in _TEXTS else picture(msgspec.json.encode(part), ruler) for part in content]
    )
    return f"<{item['role']}>" + "".join(parts)


def _prompt(fields: Mapping[str, Any], tools: object, context: Sequence[Item], ruler: Ruler) -> Prompt:
    segments = ["<tools>" + msgspec.json.encode(tools).decode()] if tools else []
    if instructions := fields.get("instructions"):
        _require(isinstance(instructions, str), "instructions", "Invalid type for 'instructions': expected a string.")
        segments.append(f"<instructions>{instructions}")
    return Prompt((*segments, *(rendered(item, ruler) for item in context)), ruler)


def _items(given: object) -> tuple[Item, ...]:
    if isinstance(given, str):
        return ({"type": "message", "role": "user", "content": [{"type": "input_text", "text": given}]},)
    _require(isinstance(given, list), "input", "Missing required parameter: 'input'.")
    assert isinstance(given, list)
    for number, item in enumerate(given):
        where = f"input[{number}]"
        _require(isinstance(item, dict), where, f"Invalid type for '{where}': expected an object.")
        kind = item.get("type", "message")
        _require(isinstance(kind, str), where, f"Invalid value: '{where}.type'.")
        if kind == "message":
            _require(item.get("role") in _ROLES, f"{where}.role", f"Invalid value: '{where}.role'.")
            content = item.get("content")
            good = isinstance(content, str) or (isinstance(content, list) and all(map(_is_part, content)))
            _require(good, f"{where}.content", f"Invalid type for '{where}.content'.")
    return tuple({"type": "message", **item} for item in given)


def _earlier(fields: Mapping[str, Any], store: ResponseStore, account: str) -> tuple[Sequence[Item], str | None]:
    previous, conversation = fields.get("previous_response_id"), fields.get("conversation")
    if previous is not None and conversation is not None:
        both = "Mutually exclusive parameters: 'previous_response_id' and 'conversation'."
        raise RefusalError(400, both, param="previous_response_id", code="mutually_exclusive_parameters")
    if previous is not None:
        found = store.get(account, str(previous))
        if found is None:
            problem = f"Previous response with id '{previous}' not found."
            raise RefusalError(400, problem, param="previous_response_id", code="previous_response_not_found")
        return found.context, None
    if conversation is None:
        return (), None
    name = conversation.get("id") if isinstance(conversation, dict) else conversation
    return store.conversation(account, str(name)).items, str(name)


def _wanted_tool(fields: Mapping[str, Any], tools: list[Any], context: Sequence[Item]) -> Mapping[str, object] | None:
    """The function to call: forced by `tool_choice`, or named in the last message when that is the user's."""
    choice = fields.get("tool_choice", "auto")
    functions = [tool for tool in tools if tool["type"] == "function"]
    if isinstance(choice, dict) and choice.get("type") == "function":
        found = next((tool for tool in functions if tool["name"] == choice.get("name")), None)
        _require(
            found is not None, "tool_choice", f"Tool choice '{choice.get('name')}' not found in 'tools' parameter."
        )
        return found
    if choice == "required":
        return functions[0] if functions else None
    if choice == "none" or not context or context[-1].get("role") != "user":
        return None
    asked = text_of(context[-1]["content"])
    return next((tool for tool in functions if tool["name"] in asked), None)


def _schema(text: object) -> Mapping[str, object] | None:
    wanted = text.get("format") if isinstance(text, dict) else None
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    schema = wanted.get("schema")
    _require(isinstance(schema, dict), "text.format.schema", "Missing required parameter: 'text.format.schema'.")
    assert isinstance(schema, dict)
    return schema


def _is_part(part: object) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return False
    return isinstance(part.get("text"), str) if part["type"] in ("input_text", "output_text", "text") else True


def _is_tool(tool: object) -> bool:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        return False
    return tool["type"] != "function" or isinstance(tool.get("name"), str)


def _require(good: bool, param: str, problem: str) -> None:
    if not good:
        raise RefusalError(400, problem, param=param, code="invalid_value")
