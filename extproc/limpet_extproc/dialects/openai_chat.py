"""OpenAI's chat completions: what Limpet reads of a request, and the opener that names the conversation."""

from typing import Any, Final

import msgspec
from msgspec import UNSET, UnsetType

from limpet_extproc.dialects import BadRequest, ChatRequest, Controls, decode_error

_OPENERS: Final = frozenset({"system", "developer"})
_CACHE_MARKS: Final = frozenset({"cache_control", "prompt_cache_breakpoint"})
"""Hints that move from turn to turn and are no part of the prompt."""


class _Body(msgspec.Struct):
    model: str
    messages: list[msgspec.Raw]
    session_id: str | UnsetType | None = UNSET
    prompt_cache_key: str | None = None
    user: str | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    stream: bool | None = None
    allow_fallbacks: bool | UnsetType | None = UNSET
    provider: Controls | UnsetType | None = UNSET


class _Message(msgspec.Struct):
    role: str
    content: Any = None


_BODY: Final = msgspec.json.Decoder(_Body)
_MESSAGE: Final = msgspec.json.Decoder(_Message)
_UNAMBIGUOUS: Final = msgspec.msgpack.Encoder()
"""Lengths stand before contents, so that no two lists of pieces read the same."""


def parse(body: bytes) -> ChatRequest:
    """The request as far as routing needs it. Raises BadRequest, which names the field and says what belongs there."""
    try:
        _require_utf8(body)
        request = _BODY.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise decode_error(error) from error
    if not request.model:
        raise BadRequest("model", "'model' is empty; name a model, GET /v1/models lists them")
    if not request.messages:
        raise BadRequest("messages", "'messages' is empty; send at least one message")
    session_id, allow_fallbacks, controls = request.session_id, request.allow_fallbacks, request.provider
    limits = [n for n in (request.max_completion_tokens, request.max_tokens) if n is not None and n > 0]
    return ChatRequest(
        model=request.model,
        opener=_opener(request.messages),
        session_id=session_id or None,
        prompt_cache_key=request.prompt_cache_key,
        user=request.user,
        max_output_tokens=min(limits, default=None),
        allow_fallbacks=None if allow_fallbacks is UNSET else allow_fallbacks,
        controls=controls or None,
        has_ours=session_id is not UNSET or allow_fallbacks is not UNSET or controls is not UNSET,
    )


def _require_utf8(body: bytes) -> None:
    """The parser looks only at the strings it needs."""
    if not body.isascii():
        body.decode()


def _opener(messages: list[msgspec.Raw]) -> bytes:
    """System and developer messages up to the first user message inclusive, one form for all spellings of one text."""
    pieces: list[str | bytes] = []
    for position, raw in enumerate(messages):
        try:
            message = _MESSAGE.decode(raw)
            is_user = message.role == "user"
            if is_user or message.role in _OPENERS:
                pieces.append("user" if is_user else "system")
                pieces += _content(message.content)
        except (msgspec.MsgspecError, RecursionError) as error:
            raise decode_error(error, f"messages[{position}]") from error
        if is_user:
            break
    return _UNAMBIGUOUS.encode(pieces)


def _content(content: Any) -> list[str | bytes]:
    """A string and a list with that one text part say the same and must read the same."""
    if isinstance(content, str):
        return ["t", content]
    if not isinstance(content, list):
        return ["v", msgspec.json.encode(content, order="deterministic")]
    pieces: list[str | bytes] = []
    for part in content:
        if isinstance(part, dict):
            text = part.get("text")
            if part.get("type") == "text" and isinstance(text, str):
                pieces += ("t", text)
                continue
            part = {key: value for key, value in part.items() if key not in _CACHE_MARKS}
        pieces += ("v", msgspec.json.encode(part, order="deterministic"))
    return pieces
