"""What a client asked for: the body of a chat request, checked the way OpenAI's API checks it."""

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from limpet_lab.sim.prompt import Ruler, render, text_of
from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.turn import AskedTurn

ROLES: Final = ("system", "developer", "user", "assistant", "tool", "function")


class Chat(msgspec.Struct, frozen=True):
    """A valid request."""

    body: dict[str, object]
    model: str
    stream: bool
    include_usage: bool
    max_tokens: int | None
    tool: Mapping[str, object] | None
    """The declared function the answer has to call."""
    schema: Mapping[str, object] | None
    reasoning: int

    def turn(self, ruler: Ruler) -> AskedTurn:
        """The same for the model."""
        return AskedTurn(
            self.body,
            self.model,
            render(self.body, ruler),
            self.stream,
            self.max_tokens,
            self.tool,
            self.schema,
            reasoning=self.reasoning,
        )


def read_chat(data: bytes, known_fields: frozenset[str] | None) -> Chat:
    """Check a request body. `known_fields`: None lets unknown ones pass. Raises RefusalError with status 400."""
    body = json_object(data)
    if known_fields is not None and (unknown := [name for name in body if name not in known_fields]):
        raise RefusalError(400, f"Unrecognized request argument supplied: {', '.join(unknown)}")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise RefusalError(
            400, "A model is required: give its name as a string.", param="model", code="missing_required_parameter"
        )
    _check_messages(body.get("messages"))
    for name, (good, wanted) in _FIELD_TYPES.items():
        if (value := body.get(name)) is not None and not good(value):
            raise RefusalError(400, f"Invalid value for '{name}': expected {wanted}.", param=name, code="invalid_value")
    stream, options = body.get("stream") is True, body.get("stream_options")
    if options is not None and not stream:
        raise RefusalError(400, "'stream_options' is only allowed when 'stream' is true.", param="stream_options")
    limit = body.get("max_completion_tokens") or body.get("max_tokens")
    return Chat(
        body=body,
        model=model,
        stream=stream,
        include_usage=isinstance(options, dict) and options.get("include_usage") is True,
        max_tokens=limit if isinstance(limit, int) else None,
        tool=_wanted_tool(body),
        schema=_schema(body.get("response_format")),
        reasoning=thoughts(body.get("reasoning_effort")),
    )


def thoughts(effort: object) -> int:
    """Tokens of thoughts at this effort; a vendor's default thinks nothing here."""
    return {"minimal": 8, "low": 16, "medium": 32, "high": 64, "xhigh": 128}.get(str(effort), 0)


def _schema(wanted: object) -> Mapping[str, object] | None:
    if not isinstance(wanted, dict) or wanted.get("type") != "json_schema":
        return None
    described = wanted.get("json_schema")
    schema = described.get("schema") if isinstance(described, dict) else None
    if not isinstance(schema, dict):
        raise RefusalError(400, "'response_format.json_schema.schema' is missing.", param="response_format")
    return schema


def json_object(data: bytes) -> dict[str, object]:
    """The body of a request. Raises RefusalError with status 400."""
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusalError(400, f"The body of the request is not valid JSON: {error}") from error
    if not isinstance(body, dict):
        raise RefusalError(400, "The body of the request is not a JSON object.")
    return body


def _check_messages(messages: object) -> None:
    if not isinstance(messages, list) or not messages:
        raise RefusalError(
            400, "'messages' must be an array with at least one message.", param="messages", code="invalid_type"
        )
    for index, message in enumerate(messages):
        where = f"messages[{index}]"
        if not isinstance(message, dict):
            raise RefusalError(
                400, f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type"
            )
        if message.get("role") not in ROLES:
            raise RefusalError(
                400,
                f"Invalid value for '{where}.role': use one of {', '.join(ROLES)}.",
                param=f"{where}.role",
                code="invalid_value",
            )
        content = message.get("content")
        if content is None and message["role"] == "assistant":
            continue
        good = isinstance(content, str) or (isinstance(content, list) and bool(content) and all(map(_is_part, content)))
        if not good:
            raise RefusalError(
                400,
                f"Invalid type for '{where}.content': expected a string or an array of parts.",
                param=f"{where}.content",
                code="invalid_type",
            )


def _is_part(part: object) -> bool:
    if not isinstance(part, dict) or not isinstance(part.get("type"), str):
        return False
    return isinstance(part.get("text"), str) if part["type"] == "text" else True


def _wanted_tool(body: Mapping[str, object]) -> Mapping[str, object] | None:
    """Return the function to call: forced by `tool_choice`, or named in the last message when that is the user's."""
    tools = body.get("tools")
    choice = body.get("tool_choice")
    if not isinstance(tools, list) or not tools or choice == "none":
        return None
    functions: list[dict[str, object]] = [tool["function"] for tool in tools if tool["type"] == "function"]
    if isinstance(choice, dict):
        named = choice.get("function")
        name = named.get("name") if isinstance(named, dict) else None
        for function in functions:
            if function["name"] == name:
                return function
        raise RefusalError(
            400, f"'tool_choice' names the function {name!r}, which is not among 'tools'.", param="tool_choice"
        )
    if choice == "required":
        return functions[0] if functions else None
    messages = body["messages"]
    assert isinstance(messages, list)
    if messages[-1]["role"] != "user":
        return None
    asked = text_of(messages[-1].get("content"))
    return next((function for function in functions if str(function["name"]) in asked), None)


def _are_tools(value: object) -> bool:
    return isinstance(value, list) and all(_is_tool(tool) for tool in value)


def _is_tool(tool: object) -> bool:
    if not isinstance(tool, dict) or not isinstance(tool.get("type"), str):
        return False
    if tool["type"] != "function":
        return True
    function = tool.get("function")
    return isinstance(function, dict) and isinstance(function.get("name"), str) and bool(function["name"])


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 1


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_FIELD_TYPES: Final[dict[str, tuple[Callable[[object], bool], str]]] = {
    "stream": (lambda value: isinstance(value, bool), "a boolean"),
    "stream_options": (lambda value: isinstance(value, dict), "an object"),
    "n": (lambda value: value == 1 and _is_count(value), "1"),
    "max_tokens": (_is_count, "a whole number of at least 1"),
    "max_completion_tokens": (_is_count, "a whole number of at least 1"),
    "temperature": (_is_number, "a number"),
    "top_p": (_is_number, "a number"),
    "tools": (_are_tools, "an array of tools, each with its type and, for a function, its name"),
    "tool_choice": (lambda value: isinstance(value, str | dict), "a string or an object"),
    "user": (lambda value: isinstance(value, str), "a string"),
    "prompt_cache_key": (lambda value: isinstance(value, str), "a string"),
}
