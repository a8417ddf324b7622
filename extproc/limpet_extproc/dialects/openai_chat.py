"""OpenAI's chat completions: what Limpet reads of a request, and where that stands."""

from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.dialects.cache_directives import ChatPrompt, cache_directives
from limpet_extproc.dialects.careful import BodyShape, CarefulReader
from limpet_extproc.dialects.last_block import CHAT_PARTS, last_blocks
from limpet_extproc.dialects.moved_breakpoints import moved_breakpoints
from limpet_extproc.dialects.openai_errors import openai_error
from limpet_extproc.dialects.openai_fields import PLAIN_FIELDS, OpenAIFields, careful_cache_directives
from limpet_extproc.dialects.opener import ABSENT, FirstMessages, fingerprint, has_history, present
from limpet_extproc.dialects.plain import PlainReader, TokenCount
from limpet_extproc.dialects.port import LastBlock, ParsedRequest, Refusal
from limpet_extproc.dialects.prompt_layout import layout_of
from limpet_extproc.dialects.spans import Body, span_of
from limpet_extproc.dialects.text import require_text
from limpet_extproc.dialects.usage_option import asks_for_usage


class _ChatFields(OpenAIFields, frozen=True, gc=False, kw_only=True):
    messages: msgspec.Struct
    tools: Raw = ABSENT
    max_tokens: Raw = ABSENT
    max_completion_tokens: Raw = ABSENT
    stream_options: Raw = ABSENT


_SHAPE: Final = BodyShape(_ChatFields, "messages", FirstMessages)
_PLAIN: Final = PlainReader(
    "messages",
    [
        *PLAIN_FIELDS,
        ("max_tokens", TokenCount, None),
        ("max_completion_tokens", TokenCount, None),
        ("stream_options", Raw, ABSENT),
        ("tools", Raw, ABSENT),
    ],
)


class OpenAIChat:
    """`POST /v1/chat/completions`."""

    name: Final = "OpenAIChat"

    def parse(self, body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
        """See `Dialect`."""
        require_text(body, "'model' and 'messages'")
        return (None if asked.model else parse_plain(body)) or parse_carefully(body, asked)

    def last_blocks(self, body: Body) -> tuple[LastBlock, ...]:
        """See `Dialect`."""
        return last_blocks(body, CHAT_PARTS)

    def error_body(self, refusal: Refusal) -> bytes:
        """See `Dialect`."""
        return openai_error(refusal)


def parse_plain(body: Body) -> ParsedRequest | None:
    """The request, if it is an ordinary one. Raises BadRequestError for a malformed message."""
    plain = _PLAIN.read(body)
    if plain is None:
        return None
    cache_key, retention, options, user, stream, tier, max_tokens, max_completion_tokens, stream_options, tools = (
        plain.fields
    )
    limits = [n for n in (max_tokens, max_completion_tokens) if n and n > 0]
    usage_asked = not stream or asks_for_usage(stream_options)
    cache = cache_directives(body, ChatPrompt, has_key=bool(cache_key), retention=retention, options=options)
    return ParsedRequest(
        model=plain.model,
        fingerprint=fingerprint(plain.messages),
        session_hints=_hints(cache_key),
        user=user or None,
        max_output_tokens=min(limits) if limits else None,
        model_span=plain.model_span,
        stream=stream is True,
        service_tier=tier or "",
        has_history=has_history(plain.messages),
        cache=cache,
        layout=layout_of(body, plain.messages, tools=tools, cache=cache, moved=moved_breakpoints(body)),
        usage_asked=usage_asked,
        stream_options=None if usage_asked or stream_options is ABSENT else span_of(body, stream_options),
    )


def parse_carefully(body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
    """Any request, however unusual. Raises BadRequestError."""
    reader = CarefulReader(_SHAPE, body)
    fields = reader.fields
    messages = present(fields.messages)
    cache_key = reader.words("prompt_cache_key", fields.prompt_cache_key)
    options = fields.stream_options
    usage_asked = not fields.stream or asks_for_usage(options)
    cache = careful_cache_directives(reader, ChatPrompt, cache_key)
    return replace(
        reader.request(messages, asked_model=asked.model),
        fingerprint=fingerprint(reader.all_written(messages), messages),
        session_hints=_hints(cache_key),
        user=reader.person("user", fields.user),
        max_output_tokens=reader.least(
            max_completion_tokens=fields.max_completion_tokens, max_tokens=fields.max_tokens
        ),
        has_history=has_history(messages),
        cache=cache,
        layout=layout_of(reader.text, messages, tools=fields.tools, cache=cache, moved=moved_breakpoints(reader.text)),
        usage_asked=usage_asked,
        stream_options=None if usage_asked or options is ABSENT else reader.span(options),
    )


def _hints(cache_key: str | None) -> tuple[tuple[str, str], ...]:
    return (("prompt_cache_key", cache_key),) if cache_key else ()
