"""Chat requests and parts of them."""

from typing import Any, Final

MODEL: Final = "claude-sonnet-4-5"


def text(content: str) -> dict[str, Any]:
    return {"type": "text", "text": content}


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def chat(**fields: Any) -> dict[str, Any]:
    """A request with one short question, unless the fields say otherwise."""
    return {"model": MODEL, "messages": [user("Hi")], **fields}
