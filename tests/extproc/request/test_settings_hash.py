"""All that a request asks for besides its prompt."""

import json
from typing import Any

import pytest
from tests.extproc.conftest import Make

from limpet_extproc.dialects.registry import spoken
from limpet_extproc.request.opened import Opened, open_request
from limpet_extproc.request.parsing import RequestHead, read

SYSTEM = {"role": "system", "content": "Be brief."}
TOOL = {"type": "function", "function": {"name": "a"}}
BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [SYSTEM, {"role": "user", "content": "Hi"}], "tools": [TOOL]},
    "/v1/messages": {"system": "Be brief.", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9},
    "/v1/responses": {"instructions": "Be brief.", "input": [{"role": "user", "content": "Hi"}]},
}
PROMPTS = {
    "/v1/chat/completions": ("messages", "tools"),
    "/v1/messages": ("system", "messages"),
    "/v1/responses": ("instructions", "input"),
}


def settings(make: Make, path: str, body: dict[str, Any]) -> bytes:
    found = spoken(path, "")
    head = RequestHead(found.dialect, {":path": path}, found.api, found.asked)
    data = json.dumps({"model": "flash", **body}).encode()
    dialects: Any = ("OpenAIChat", "OpenAIResponses", "AnthropicMessages")
    opened = open_request(head, read(head, data), data, make.snapshot(make.provider("a", dialects=dialects)), b"secret")  # type: ignore[arg-type]
    assert isinstance(opened, Opened)
    assert opened.query.chain.hashes
    return opened.query.settings


@pytest.mark.parametrize("path", BODIES)
def test_another_prompt_has_the_same_settings(make: Make, path: str) -> None:
    body = BODIES[path]
    for field in PROMPTS[path]:
        longer = body[field] * 3 if isinstance(body[field], list) else "Be long, and tell all."
        assert settings(make, path, {**body, field: longer}) == settings(make, path, body)


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("more", [{"tool_choice": "none"}, {"metadata": {"user_id": "me"}}, {"temperature": 0.5}])
def test_any_other_field_makes_others(make: Make, path: str, more: dict[str, Any]) -> None:
    assert settings(make, path, {**BODIES[path], **more}) != settings(make, path, BODIES[path])
    assert settings(make, path, {**more, **BODIES[path]}) != settings(make, path, BODIES[path])
