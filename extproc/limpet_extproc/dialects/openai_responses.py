"""OpenAI's Responses, also where they are counted or compacted: what is read of a request, and where that stands."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.dialects.cache_directives import cache_directives
from limpet_extproc.dialects.careful import BodyShape, CarefulReader
from limpet_extproc.dialects.json_errors import decode_error
from limpet_extproc.dialects.moved_breakpoints import moved_breakpoints
from limpet_extproc.dialects.openai_errors import openai_error
from limpet_extproc.dialects.openai_fields import PLAIN_FIELDS, OpenAIFields, careful_cache_directives
from limpet_extproc.dialects.opener import ABSENT, FirstMessages, fingerprint, has_history, present
from limpet_extproc.dialects.plain import Flag, OnceName, PlainReader, ShortName, TokenCount
from limpet_extproc.dialects.port import BadRequestError, LastBlock, ParsedRequest, Pin, Refusal
from limpet_extproc.dialects.prompt_layout import layout_of
from limpet_extproc.dialects.spans import Body, Text
from limpet_extproc.dialects.text import name, require_text

PREVIOUS: Final = "previous_response_id"
CONVERSATION: Final = "conversation"


class _ResponsesFields(OpenAIFields, frozen=True, gc=False, kw_only=True):
    input: Raw = ABSENT
    instructions: Raw = ABSENT
    tools: Raw = ABSENT
    previous_response_id: Raw = ABSENT
    conversation: Raw = ABSENT
    store: bool | None = None
    safety_identifier: Raw = ABSENT
    max_output_tokens: Raw = ABSENT


_SHAPE: Final = BodyShape(_ResponsesFields, once=("input", PREVIOUS, CONVERSATION))
_ITEMS: Final = msgspec.json.Decoder(FirstMessages)
_PLAIN: Final = PlainReader(
    "input",
    [
        *PLAIN_FIELDS,
        ("instructions", Raw, ABSENT),
        ("store", Flag, None),
        ("safety_identifier", ShortName, None),
        ("max_output_tokens", TokenCount, None),
        ("tools", Raw, ABSENT),
        (PREVIOUS, OnceName, OnceName("")),
        (CONVERSATION, Raw, ABSENT),
    ],
)
_NULL: Final = memoryview(b"null")
_QUOTE: Final = 0x22
_BRACE: Final = 0x7B
_BRACKET: Final = 0x5B
_IN_OBJECT: Final = re.compile(rb'\{\s*"id"\s*:\s*("[^"\\]*")\s*\}')
_RESULT: Final = re.compile(rb'"type"\s*:\s*"[a-z_]+_output"')
_HEAD_BYTES: Final = 64


class OpenAIResponses:
    """`POST /v1/responses`, `POST /v1/responses/input_tokens` and `POST /v1/responses/compact`."""

    name: Final = "OpenAIResponses"

    def parse(self, body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
        """See `Dialect`."""
        require_text(body, "'model' and 'input'")
        return (None if asked.model else parse_plain(body)) or parse_carefully(body, asked)

    def last_blocks(self, body: Body) -> tuple[LastBlock, ...]:
        """See `Dialect`: the vendors of this API place breakpoints themselves."""
        return ()

    def error_body(self, refusal: Refusal) -> bytes:
        """See `Dialect`."""
        return openai_error(refusal)


def parse_plain(body: Body) -> ParsedRequest | None:
    """The request, if it is an ordinary one with a list of items. Raises BadRequestError for a malformed item."""
    plain = _PLAIN.read(body)
    if plain is None:
        return None
    *fields, tools, previous, conversation = plain.fields
    if conversation is not ABSENT:
        return None
    cache_key, retention, options, user, stream, tier, instructions, store, person, max_tokens = fields
    return ParsedRequest(
        model=plain.model,
        fingerprint=fingerprint(plain.messages, system=instructions, items=True),
        session_hints=_hints(cache_key, None),
        user=user or person or None,
        max_output_tokens=max_tokens if max_tokens and max_tokens > 0 else None,
        model_span=plain.model_span,
        stream=stream is True,
        service_tier=tier or "",
        has_history=previous != "" or _has_history(plain.messages),
        pin=Pin(PREVIOUS, str(previous)) if previous else None,
        cache=cache_directives(body, None, has_key=bool(cache_key), retention=retention, options=options),
        layout=layout_of(body, plain.messages, tools=tools, system=instructions, moved=moved_breakpoints(body)),
        kept=store is not False,
    )


def parse_carefully(body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
    """Any request, however unusual. Raises BadRequestError."""
    reader = CarefulReader(_SHAPE, body)
    fields = reader.fields
    common = reader.request(asked_model=asked.model)
    if not common.model:
        raise BadRequestError("model", "'model' is missing")
    items, text = _input(reader)
    conversation = _conversation(reader)
    previous = _id(reader, PREVIOUS, fields.previous_response_id)
    if previous and conversation:
        message = f"'{PREVIOUS}' and '{CONVERSATION}' exclude each other: send one of them"
        raise BadRequestError(PREVIOUS, message, "mutually_exclusive_parameters")
    pin = Pin(PREVIOUS, previous) if previous else Pin(CONVERSATION, conversation) if conversation else None
    cache_key = reader.words("prompt_cache_key", fields.prompt_cache_key)
    return replace(
        common,
        fingerprint=fingerprint(
            reader.all_written(items),
            items,
            fields.instructions if fields.instructions is ABSENT else reader.written(fields.instructions),
            text,
            items=True,
        ),
        session_hints=_hints(cache_key, conversation),
        user=reader.person("user", fields.user) or reader.person("safety_identifier", fields.safety_identifier),
        max_output_tokens=reader.least(max_output_tokens=fields.max_output_tokens),
        has_history=pin is not None or _has_history(items),
        cache=careful_cache_directives(reader, None, cache_key),
        layout=layout_of(
            reader.text,
            (fields.input,) if text is not ABSENT else items,
            tools=fields.tools,
            system=fields.instructions,
            moved=moved_breakpoints(reader.text),
        ),
        pin=pin,
        kept=fields.store is not False,
    )


def _input(reader: CarefulReader[_ResponsesFields]) -> tuple[Sequence[Raw], Text]:
    """The first items, or a text in their place; a request that goes on from another may have neither."""
    value = reader.fields.input
    if value is ABSENT or memoryview(value) == _NULL:
        return (), ABSENT
    if memoryview(value)[0] == _QUOTE:
        return (), reader.written(value)
    try:
        return present(_ITEMS.decode(value)), ABSENT
    except msgspec.ValidationError as error:
        if memoryview(value)[0] == _BRACKET:
            raise decode_error(error, "input") from error
        message = "'input' has the wrong type: write a string or an array of items"
        raise BadRequestError("input", message) from error


def _conversation(reader: CarefulReader[_ResponsesFields]) -> str | None:
    """Its id, which stands there as a string or in an object."""
    value = reader.fields.conversation
    if value is ABSENT or memoryview(value)[0] != _BRACE:
        return _id(reader, CONVERSATION, value)
    found = _IN_OBJECT.fullmatch(memoryview(value))
    if found is None:
        message = f"'{CONVERSATION}' has the wrong type: write its id, or an object with 'id' alone"
        raise BadRequestError(CONVERSATION, message)
    return name(found[1], f"{CONVERSATION}.id") or None


def _id(reader: CarefulReader[_ResponsesFields], field: str, value: Raw) -> str | None:
    """One that is too long for a name is an error, as what it names is looked up."""
    return None if value is ABSENT or memoryview(value) == _NULL else name(reader.written(value), field) or None


def _hints(cache_key: str | None, conversation: str | None) -> tuple[tuple[str, str], ...]:
    hints = (("prompt_cache_key", cache_key), (CONVERSATION, conversation))
    return tuple((field, value) for field, value in hints if value)


def _has_history(items: Sequence[Raw]) -> bool:
    """Whether there is an answer among them, or the result of a tool, which has no role, at their end."""
    return has_history(items) or bool(items and _RESULT.search(memoryview(items[-1]), 0, _HEAD_BYTES))
