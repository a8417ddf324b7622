"""An ordinary chat completions request in one pass of the decoder: what nearly every client sends.

A body that is unusual or wrong is left to the careful reading of `openai_chat`, which gives the same for every request
that is read here.
"""

import re
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from limpet_extproc.dialects.opener import ABSENT, MESSAGE_FIELDS, fingerprint, has_history, present
from limpet_extproc.dialects.port import ParsedRequest
from limpet_extproc.dialects.spans import Body, Span

MAX_BYTES: Final = 1 << 17
"""Of a body that is read here; reading a longer one twice would cost too much."""

_TAIL_BYTES: Final = 512
_MAX_NAME_CHARS: Final = 256
_MAX_COUNT: Final = 1 << 53

_AT_FIRST: Final = re.compile(rb'\s*\{\s*"model"\s*:\s*("[^"\\]*")')
_SHALLOW: Final = rb'(?:"[^"\\{}\[\]]*"|[^"{}\[\]])*+'
_AT_LAST: Final = re.compile(
    rb'"model"\s*:\s*("[^"\\]*")\s*'
    rb'(?:,\s*"[^"\\]*"\s*:\s*(?:"[^"\\]*"|[-+.\w]+|\{' + _SHALLOW + rb"\}|\[" + _SHALLOW + rb"\])\s*)*+\}\s*\Z"
)
"""The key and all that follows it up to the end of the body, where only one brace is closed: it is not a nested one."""


class _ModelName(str):
    """The model's name; its own type, so that the decoder calls a hook for each."""

    __slots__ = ()


class PlainChat:
    """Reads ordinary requests. Its decoder counts, so it serves one thread."""

    def __init__(self, unusual: tuple[str, ...]) -> None:
        """`unusual`: a body with one of these keys is not read here."""
        self._names = self._lists = 0
        messages = msgspec.defstruct(
            "Messages",
            MESSAGE_FIELDS,
            array_like=True,
            frozen=True,
            gc=False,
            namespace={"__post_init__": self._count_list},
        )
        name, count = Annotated[str, Meta(max_length=_MAX_NAME_CHARS)], Annotated[int, Meta(le=_MAX_COUNT)]
        fields: list[tuple[str, Any, Any]] = [
            ("prompt_cache_key", name | None, None),
            ("user", name | None, None),
            ("max_tokens", count | None, None),
            ("max_completion_tokens", count | None, None),
            ("stream", bool | None, None),
            *((key, Raw, ABSENT) for key in unusual),
        ]
        body = msgspec.defstruct(
            "Body", [("model", _ModelName), ("messages", messages), *fields], frozen=True, gc=False
        )
        self._decoder = msgspec.json.Decoder(body, dec_hook=self._count_name)
        self._usual = (ABSENT,) * len(unusual)

    def parse(self, body: Body) -> ParsedRequest | None:
        """The request, if it is an ordinary one. Raises BadRequestError for a malformed message."""
        if len(body) > MAX_BYTES:
            return None
        self._names = self._lists = 0
        try:
            fields = msgspec.structs.astuple(self._decoder.decode(body))
        except (msgspec.MsgspecError, RecursionError):
            return None
        model, decoded, cache_key, user, max_tokens, max_completion_tokens, stream = fields[:_READ]
        if fields[_READ:] != self._usual or self._names != 1 or self._lists != 1 or not model:
            return None
        found = _AT_FIRST.match(body) or _AT_LAST.search(body, max(0, len(body) - _TAIL_BYTES))
        messages = present(decoded)
        if found is None or not messages:
            return None
        limits = [n for n in (max_tokens, max_completion_tokens) if n is not None and n > 0]
        return ParsedRequest(
            model=str(model),
            fingerprint=fingerprint(messages),
            session_hints=cache_key_hint(cache_key),
            user=user or None,
            max_output_tokens=min(limits, default=None),
            model_span=Span(found.start(1), found.end(1) - found.start(1)),
            stream=stream is True,
            has_history=has_history(messages),
        )

    def _count_list(self, _: object = None) -> None:
        self._lists += 1

    def _count_name(self, _: type, value: Any) -> _ModelName:
        self._names += 1
        if self._names > 1 or not isinstance(value, str) or len(value) > _MAX_NAME_CHARS:
            raise ValueError(value)
        return _ModelName(value)


_READ: Final = 7
"""Fields of a body that are read here, before the unusual ones."""


def cache_key_hint(value: str | None) -> tuple[tuple[str, str], ...]:
    """`prompt_cache_key` as a hint that names the conversation."""
    return (("prompt_cache_key", value),) if value else ()
