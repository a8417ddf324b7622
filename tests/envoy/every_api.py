"""A provider that speaks every API, and requests and answers that pass for those of all."""

from collections.abc import Mapping
from typing import Any, Final

from tests.envoy.cast import say
from tests.envoy.upstream import Got, Reply

SPEAKS: Final[dict[str, Any]] = {
    "vendor": "Custom",
    "dialects": ["OpenAIChat", "OpenAIResponses", "AnthropicMessages"],
    "paths": {"AnthropicMessages": "/anthropic/v1"},
    "endpoints": ["embeddings", "images"],
}


def anything(_: Got) -> Reply:
    """What passes for an answer of every API."""
    marks = {"object": "x", "choices": [], "content": [], "data": [], "results": [], "input_tokens": 1}
    return Reply(headers={"content-type": "application/json"}, body=marks)


def body(model: str) -> Mapping[str, Any]:
    """A request of every API."""
    return {"model": model, "max_tokens": 9, "messages": [say("Hi")], "input": "Hi", "prompt": "Hi"}


def upstream_path(found: str) -> str:
    """Where a provider that speaks all has what is asked for."""
    return ("/anthropic/v1" if found.startswith("/messages") else "/v1") + found
