"""Anthropic's Messages, and the counting of their tokens: what Limpet reads of a request, and where that stands."""

import re
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.contract.error_types import anthropic_type
from limpet_extproc.dialects.cache_directives import MessagesPrompt, cache_directives
from limpet_extproc.dialects.careful import BodyShape, CarefulReader, Fields
from limpet_extproc.dialects.last_block import MESSAGE_BLOCKS, last_blocks
from limpet_extproc.dialects.opener import ABSENT, FirstMessages, fingerprint, has_history, present
from limpet_extproc.dialects.plain import Flag, PlainReader, ShortName, TokenCount
from limpet_extproc.dialects.port import LastBlock, ParsedRequest, Refusal
from limpet_extproc.dialects.prompt_layout import layout_of
from limpet_extproc.dialects.spans import Body
from limpet_extproc.dialects.text import decode, require_text

SESSION_HINT: Final = "metadata.user_id"
"""In which Claude Code names a session."""


class _MessagesFields(Fields, frozen=True, gc=False, kw_only=True):
    messages: msgspec.Struct
    system: Raw = ABSENT
    tools: Raw = ABSENT
    metadata: Raw = ABSENT
    max_tokens: Raw = ABSENT


class _PlainMetadata(msgspec.Struct, frozen=True, gc=False):
    user_id: ShortName = None


class _Metadata(msgspec.Struct, frozen=True, gc=False):
    user_id: Raw = ABSENT


class _Session(msgspec.Struct, frozen=True, gc=False):
    session_id: str


_METADATA: Final[msgspec.json.Decoder[_Metadata | None]] = msgspec.json.Decoder(_Metadata | None)
_SESSION: Final = msgspec.json.Decoder(_Session)
_OLDER_SESSION: Final = re.compile(r"user_\w*_session_([0-9A-Za-z-]+)")
"""How Claude Code wrote it before 2.1.78: `user_…_account_…_session_…`."""

_SHAPE: Final = BodyShape(_MessagesFields, "messages", FirstMessages)
_PLAIN: Final = PlainReader(
    "messages",
    [
        ("system", Raw, ABSENT),
        ("metadata", _PlainMetadata | None, None),
        ("max_tokens", TokenCount, None),
        ("stream", Flag, None),
        ("service_tier", ShortName, None),
        ("tools", Raw, ABSENT),
    ],
)

_PLACE: Final = re.compile(r"\[(\d+)\]")


class AnthropicMessages:
    """`POST /v1/messages` and `POST /v1/messages/count_tokens`."""

    name: Final = "AnthropicMessages"

    def parse(self, body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
        """See `Dialect`."""
        require_text(body, "'model', 'max_tokens' and 'messages'")
        return (None if asked.model else parse_plain(body)) or parse_carefully(body, asked)

    def last_blocks(self, body: Body) -> tuple[LastBlock, ...]:
        """See `Dialect`."""
        return last_blocks(body, MESSAGE_BLOCKS)

    def error_body(self, refusal: Refusal) -> bytes:
        """See `Dialect`."""
        # A place in a list is written `messages.0.role` there.
        param = refusal.param or ""
        message = refusal.message.replace(param, _PLACE.sub(r".\1", param)) if "[" in param else refusal.message
        return msgspec.json.encode(
            {"type": "error", "error": {"type": anthropic_type(refusal.status), "message": message}}
        )


def parse_plain(body: Body) -> ParsedRequest | None:
    """The request, if it is an ordinary one. Raises BadRequestError for a malformed message."""
    plain = _PLAIN.read(body)
    if plain is None:
        return None
    system, metadata, max_tokens, stream, tier, tools = plain.fields
    user, hints = _person_or_session(metadata.user_id if metadata else None)
    cache = cache_directives(body, MessagesPrompt)
    return ParsedRequest(
        model=plain.model,
        fingerprint=fingerprint(plain.messages, system=system),
        session_hints=hints,
        user=user,
        max_output_tokens=max_tokens if max_tokens and max_tokens > 0 else None,
        model_span=plain.model_span,
        stream=stream is True,
        service_tier=tier or "",
        has_history=has_history(plain.messages),
        cache=cache,
        layout=layout_of(body, plain.messages, tools=tools, system=system, cache=cache),
    )


def parse_carefully(body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
    """Any request, however unusual. Raises BadRequestError."""
    reader = CarefulReader(_SHAPE, body)
    fields = reader.fields
    messages = present(fields.messages)
    common = reader.request(messages, asked_model=asked.model)
    system = fields.system if fields.system is ABSENT else reader.written(fields.system)
    user, hints = _person_or_session(_user_id(reader))
    cache = cache_directives(reader.text, MessagesPrompt)
    return replace(
        common,
        fingerprint=fingerprint(reader.all_written(messages), messages, system),
        session_hints=hints,
        user=user,
        max_output_tokens=reader.least(max_tokens=fields.max_tokens),
        has_history=has_history(messages),
        cache=cache,
        layout=layout_of(reader.text, messages, tools=fields.tools, system=fields.system, cache=cache),
    )


def _user_id(reader: CarefulReader[_MessagesFields]) -> str | None:
    if reader.fields.metadata is ABSENT:
        return None
    # Decoded from what the decoder saw, so that the place of what is in it is known.
    metadata, _ = decode(_METADATA, reader.fields.metadata, "metadata")
    return None if metadata is None else reader.person("metadata.user_id", metadata.user_id)


def _person_or_session(user_id: str | None) -> tuple[str | None, tuple[tuple[str, str], ...]]:
    """The user, or else the hint that names a conversation, as Claude Code writes one into the same field."""
    if not user_id:
        return None, ()
    if user_id.startswith("user_") and (found := _OLDER_SESSION.fullmatch(user_id)):
        return None, ((SESSION_HINT, found[1]),)
    if user_id.startswith("{"):
        try:
            session = _SESSION.decode(user_id).session_id
        except (msgspec.MsgspecError, RecursionError):
            return user_id, ()
        return (None, ((SESSION_HINT, session),)) if session else (user_id, ())
    return user_id, ()
