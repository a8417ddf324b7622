"""What a client asked for in Anthropic's Messages API, checked the way that API checks it."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from limpet_lab.sim.chat import json_object
from limpet_lab.sim.marks import marks_of
from limpet_lab.sim.prompt import Prompt, Ruler, picture, text_of
from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.turn import AskedTurn

_ROLES: Final = ("user", "assistant", "system")
_BLOCKS: Final = (
    *("text", "image", "document", "tool_use", "tool_result", "thinking", "redacted_thinking", "search_result"),
    *("server_tool_use", "web_search_tool_result", "container_upload", "mcp_tool_use", "mcp_tool_result"),
)
_MIN_BUDGET: Final = 1024

PromptBlock = Mapping[str, Any]
"""One block of a request's prompt: a tool, or a part of a system prompt or of a message."""


def read_messages(
    data: bytes, known_fields: frozenset[str] | None, ruler: Ruler, *, counting: bool = False
) -> AskedTurn:
    """Check a request body. `counting`: it needs no `max_tokens`. Raises RefusalError with status 400."""
    body: dict[str, Any] = json_object(data)
    for name in body:
        if known_fields is not None and name not in known_fields:
            raise RefusalError(400, f"{name}: Extra inputs are not permitted")
    model, limit, stream = body.get("model"), body.get("max_tokens"), body.get("stream", False)
    _require(isinstance(model, str) and bool(model), "model: Field required")
    if not counting:
        _require(isinstance(limit, int) and not isinstance(limit, bool) and limit >= 0, "max_tokens: Field required")
    _require(isinstance(stream, bool), "stream: Input should be a valid boolean")
    tools = body.get("tools") or []
    _require(isinstance(tools, list) and all(map(_is_tool, tools)), "tools: each needs a name")
    blocks = [("tools", tool) for tool in tools]
    blocks += [("system", block) for block in _content("system", body.get("system") or [])]
    blocks += _messages(body.get("messages"))
    thinking = _thoughts(body.get("thinking"), limit)
    return AskedTurn(
        body,
        str(model),
        Prompt(tuple(_rendered(role, block, ruler) for role, block in blocks), ruler),
        stream,
        limit,
        _wanted_tool(body, tools),
        _schema(body.get("output_config")),
        marks_of(body.get("cache_control"), blocks),
        thinking,
    )


def _messages(messages: object) -> list[tuple[str, PromptBlock]]:
    _require(isinstance(messages, list) and bool(messages), "messages: at least one message is required")
    assert isinstance(messages, list)
    blocks = []
    for index, message in enumerate(messages):
        where = f"messages.{index}"
        _require(isinstance(message, dict), f"{where}: Input should be an object")
        _require(message.get("role") in _ROLES, f"{where}.role: Input should be 'user' or 'assistant'")
        blocks += [(message["role"], block) for block in _content(f"{where}.content", message.get("content"))]
    _require(bool(blocks), "messages: the prompt is empty")
    return blocks


def _content(where: str, content: object) -> list[PromptBlock]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    _require(isinstance(content, list), f"{where}: Input should be a valid string or list")
    assert isinstance(content, list)
    for index, block in enumerate(content):
        good = isinstance(block, dict) and block.get("type") in _BLOCKS
        _require(good, f"{where}.{index}: Input tag does not match any of the expected tags")
        if block["type"] == "text":
            _require(isinstance(block.get("text"), str), f"{where}.{index}.text.text: Field required")
            _require(block["text"] != "", "messages: text content blocks must be non-empty")
    return content


def _rendered(role: str, block: PromptBlock, ruler: Ruler) -> str:
    """What the model sees of a block: where breakpoints stand is not part of it."""
    if block.get("type") == "text":
        return f"<{role}>{block['text']}"
    if block.get("type") in ("image", "document"):
        return f"<{role}>" + picture(msgspec.json.encode(_without_mark(block)), ruler)
    return f"<{role}>" + msgspec.json.encode(_without_mark(block)).decode()


def _without_mark(block: PromptBlock) -> dict[str, Any]:
    return {name: value for name, value in block.items() if name != "cache_control"}


def _thoughts(thinking: object, limit: object) -> int:
    if not isinstance(thinking, dict) or thinking.get("type") == "disabled":
        return 0
    if thinking.get("type") == "adaptive":
        return 32
    budget = thinking.get("budget_tokens")
    _require(thinking.get("type") == "enabled", "thinking.type: Input should be 'enabled', 'adaptive' or 'disabled'")
    _require(
        isinstance(budget, int) and budget >= _MIN_BUDGET, f"thinking.enabled.budget_tokens: at least {_MIN_BUDGET}"
    )
    assert isinstance(budget, int)
    _require(not isinstance(limit, int) or limit > budget, "`max_tokens` must be greater than `thinking.budget_tokens`")
    return 32


def _schema(config: object) -> Mapping[str, object] | None:
    wanted = config.get("format") if isinstance(config, dict) else None
    if not isinstance(wanted, dict):
        return None
    good = wanted.get("type") == "json_schema" and isinstance(wanted.get("schema"), dict)
    _require(good, "output_config.format: Input should be a json_schema with its schema")
    schema: Mapping[str, object] = wanted["schema"]
    return schema


def _wanted_tool(body: Mapping[str, Any], tools: list[dict[str, Any]]) -> Mapping[str, object] | None:
    """The tool to call: forced by `tool_choice`, or named in the last message when that is the user's."""
    choice = body.get("tool_choice") or {"type": "auto"}
    kind = choice.get("type") if isinstance(choice, dict) else None
    _require(
        kind in ("auto", "any", "tool", "none"), "tool_choice.type: Input should be 'auto', 'any', 'tool' or 'none'"
    )
    own = [{"name": tool["name"], "parameters": tool["input_schema"]} for tool in tools if "input_schema" in tool]
    if kind == "tool":
        found = next((tool for tool in own if tool["name"] == choice.get("name")), None)
        _require(found is not None, f"Tool '{choice.get('name')}' not found in provided tools")
        return found
    if kind == "any":
        return own[0] if own else None
    last = body["messages"][-1]
    if kind == "none" or last["role"] != "user":
        return None
    asked = text_of([block for block in _content("", last["content"]) if block.get("type") == "text"])
    return next((tool for tool in own if str(tool["name"]) in asked), None)


def _is_tool(tool: object) -> bool:
    return isinstance(tool, dict) and isinstance(tool.get("name"), str) and ("input_schema" in tool or "type" in tool)


def _require(good: bool, problem: str) -> None:
    if not good:
        raise RefusalError(400, problem)
