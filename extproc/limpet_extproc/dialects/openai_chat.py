"""OpenAI's chat completions: what Limpet reads of a request, and where that stands."""

from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.dialects.cache_ask import ChatPrompt, cache_ask
from limpet_extproc.dialects.careful import BodyShape, CarefulReader, Fields
from limpet_extproc.dialects.last_block import CHAT_PARTS, last_block
from limpet_extproc.dialects.openai_errors import openai_error
from limpet_extproc.dialects.opener import ABSENT, FirstMessages, fingerprint, has_history, present
from limpet_extproc.dialects.plain import Flag, PlainReader, ShortName, TokenCount
from limpet_extproc.dialects.port import BadRequestError, LastBlock, ParsedRequest, Refusal
from limpet_extproc.dialects.spans import Body, span_of
from limpet_extproc.dialects.text import require_utf8
from limpet_extproc.dialects.usage_option import asks_for_usage


class _ChatFields(Fields, frozen=True, gc=False, kw_only=True):
    messages: msgspec.Struct
    prompt_cache_key: Raw = ABSENT
    user: Raw = ABSENT
    max_tokens: Raw = ABSENT
    max_completion_tokens: Raw = ABSENT
    prompt_cache_retention: Raw = ABSENT
    prompt_cache_options: Raw = ABSENT
    stream_options: Raw = ABSENT


_SHAPE: Final = BodyShape(_ChatFields, "messages", FirstMessages)
_PLAIN: Final = PlainReader(
    "messages",
    [
        ("prompt_cache_key", ShortName, None),
        ("user", ShortName, None),
        ("max_tokens", TokenCount, None),
        ("max_completion_tokens", TokenCount, None),
        ("stream", Flag, None),
        ("stream_options", Raw, ABSENT),
        ("prompt_cache_retention", Raw, ABSENT),
        ("prompt_cache_options", Raw, ABSENT),
    ],
)


class OpenAIChat:
    """`POST /v1/chat/completions`."""

    name: Final = "OpenAIChat"

    def parse(self, body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
        """See `Dialect`."""
        if not body:  # Chunks without content, say; a request without any body is refused by Envoy.
            message = "The request has no body; send a JSON object with 'model' and 'messages'."
            raise BadRequestError(None, message, "empty_body")
        require_utf8(body)
        return (None if asked.model else parse_plain(body)) or parse_carefully(body, asked)

    def last_block(self, body: Body) -> LastBlock | None:
        """See `Dialect`."""
        return last_block(body, CHAT_PARTS)

    def error_body(self, refusal: Refusal) -> bytes:
        """See `Dialect`."""
        return openai_error(refusal)


def parse_plain(body: Body) -> ParsedRequest | None:
    """The request, if it is an ordinary one. Raises BadRequestError for a malformed message."""
    plain = _PLAIN.read(body)
    if plain is None:
        return None
    cache_key, user, max_tokens, max_completion_tokens, stream, stream_options, retention, options = plain.fields
    limits = [n for n in (max_tokens, max_completion_tokens) if n and n > 0]
    usage_asked = not stream or asks_for_usage(stream_options)
    return ParsedRequest(
        model=plain.model,
        fingerprint=fingerprint(plain.messages),
        session_hints=_hints(cache_key),
        user=user or None,
        max_output_tokens=min(limits) if limits else None,
        model_span=plain.model_span,
        stream=stream is True,
        has_history=has_history(plain.messages),
        cache=cache_ask(body, ChatPrompt, has_key=bool(cache_key), retention=retention, options=options),
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
    return replace(
        reader.request(messages, asked_model=asked.model),
        fingerprint=fingerprint(reader.all_written(messages), messages),
        session_hints=_hints(cache_key),
        user=reader.person("user", fields.user),
        max_output_tokens=reader.least(
            max_completion_tokens=fields.max_completion_tokens, max_tokens=fields.max_tokens
        ),
        has_history=has_history(messages),
        cache=cache_ask(
            reader.text,
            ChatPrompt,
            has_key=bool(cache_key),
            retention=fields.prompt_cache_retention,
            options=fields.prompt_cache_options,
        ),
        usage_asked=usage_asked,
        stream_options=None if usage_asked or options is ABSENT else reader.span(options),
    )


def _hints(cache_key: str | None) -> tuple[tuple[str, str], ...]:
    return (("prompt_cache_key", cache_key),) if cache_key else ()
