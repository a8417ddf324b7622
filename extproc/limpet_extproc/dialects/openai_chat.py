"""OpenAI's chat completions: what Limpet reads of a request, and where that stands.

One pass of the decoder over the body, however long it is, and a second one for doubled keys: nothing here is done once
for each token, member, message or part.
"""

import re
from itertools import product
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Raw
from msgspec.structs import replace
from xxhash import xxh3_128_hexdigest

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.dialects.json_errors import decode_error
from limpet_extproc.dialects.opener import ABSENT, MAX_MESSAGES, FirstMessages, fingerprint, has_history, present
from limpet_extproc.dialects.plain_chat import PlainChat, cache_key_hint
from limpet_extproc.dialects.port import BadRequestError, LastBlock, ParsedRequest, ProviderObject, Refusal
from limpet_extproc.dialects.provider_object import lists_of, parse_provider_object
from limpet_extproc.dialects.spans import Body, Member, Span, Text, address, array_at, key_of, member_at
from limpet_extproc.dialects.text import (
    as_written,
    boolean,
    decode,
    is_long,
    name,
    names,
    require_utf8,
    whole_number,
    words,
)

OURS: Final = ("provider", "allow_fallbacks", "session_id", "models")
"""Fields meant for us; a provider may refuse a request that has them."""

_SPELLINGS: Final = tuple("".join(letters) for letters in product(*(c + c.upper() for c in "model")))[1:]
"""`Model`, `MODEL` and so on: a provider written in Go takes each of them for `model`, and the last one wins."""


class _Fields(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    model: Raw
    messages: msgspec.Struct
    provider: Raw = ABSENT
    allow_fallbacks: Raw = ABSENT
    session_id: Raw = ABSENT
    models: Raw = ABSENT
    prompt_cache_key: Raw = ABSENT
    user: Raw = ABSENT
    max_tokens: Raw = ABSENT
    max_completion_tokens: Raw = ABSENT
    stream: bool | None = None


_Never: TypeAlias = Annotated[int, Meta(gt=0, lt=0)]
"""A value that nothing is, so that the decoder ends where the first one begins."""

_BODY: Final[msgspec.json.Decoder[_Fields]] = msgspec.json.Decoder(
    msgspec.defstruct(
        "Body",
        [("messages", FirstMessages), *((spelling, _Never, 0) for spelling in _SPELLINGS)],
        bases=(_Fields,),
        frozen=True,
        gc=False,
        kw_only=True,
    )
)
_OURS_AT: Final = slice(2, 2 + len(OURS))
"""Of the fields of a body."""
_NONE_OF_OURS: Final = (ABSENT,) * len(OURS)
ORDINARY: Final = PlainChat((*OURS, *_SPELLINGS))
_ONCE: Final = ("model", "messages", *OURS)
_DOUBLES: Final = msgspec.json.Decoder(
    msgspec.defstruct("Doubles", [(field, _Never, 0) for field in _ONCE], frozen=True, gc=False)
)
_MODEL_FIRST: Final = re.compile(rb'\s*\{\s*"model"\s*:\s*("[^"\\]*")\s*,\s*"messages"\s*:\s*\[\s*')
_MESSAGES_FIRST: Final = re.compile(rb'\s*\{\s*"messages"\s*:\s*\[\s*')
_THEN_MODEL: Final = re.compile(rb'\s*\]\s*,\s*"model"\s*:\s*')


class OpenAIChat:
    """`POST /v1/chat/completions`."""

    name: Final = "OpenAIChat"

    def parse(self, body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
        """See `Dialect`."""
        if not body:  # Chunks without content, say; a request without any body is refused by Envoy.
            message = "The request has no body; send a JSON object with 'model' and 'messages'."
            raise BadRequestError(None, message, "empty_body")
        require_utf8(body)
        return ORDINARY.parse(body) or parse_carefully(body)

    def last_block(self, body: Body) -> LastBlock | None:
        """See `Dialect`."""
        return None

    def error_body(self, refusal: Refusal) -> bytes:
        """See `Dialect`."""
        error = {
            "message": refusal.message,
            "type": "invalid_request_error",
            "param": refusal.param,
            "code": refusal.code,
        }
        return msgspec.json.encode({"error": error})


def parse_carefully(body: Body) -> ParsedRequest:
    """Reads any body, however unusual. Raises BadRequestError."""
    try:
        fields, text = decode(_BODY, body)
    except BadRequestError as error:
        if error.param in _SPELLINGS:
            raise _misspelled(error.param) from error
        raise
    return _CarefulReader(body, fields, text).request()


class _CarefulReader:
    """Reads one decoded body; `text` is what the decoder saw of it."""

    __slots__ = ("_address", "_body", "_fields", "_text", "_view")

    def __init__(self, body: Body, fields: _Fields, text: Text) -> None:
        self._body = body
        self._fields = fields
        self._text = text
        self._view = memoryview(text)
        self._address = address(text)

    def request(self) -> ParsedRequest:
        """What routing needs. Raises BadRequestError."""
        fields = self._fields
        model = name(self._written(fields.model), "model")
        if not model:
            raise BadRequestError("model", "'model' is empty; name a model, GET /v1/models lists them")
        messages = present(fields.messages)
        if not messages:
            raise BadRequestError("messages", "'messages' is empty; send at least one message")
        model_span = self._span(fields.model)
        ours = self._ours() if msgspec.structs.astuple(fields)[_OURS_AT] != _NONE_OF_OURS else ()
        if ours or not self._starts_with_both(model_span, messages):
            self._require_no_doubles(model_span, messages[0], ours)
        if fields.models is not ABSENT:
            _require_no_other_model(model, names(self._written(fields.models), "models"))
        return ParsedRequest(
            model=model,
            fingerprint=fingerprint(
                messages if self._text is self._body else [self._written(message) for message in messages], messages
            ),
            session_id=self._words("session_id", fields.session_id),
            session_hints=cache_key_hint(self._words("prompt_cache_key", fields.prompt_cache_key)),
            user=self._user(),
            max_output_tokens=self._limit(),
            allow_fallbacks=(
                None
                if fields.allow_fallbacks is ABSENT
                else boolean(self._written(fields.allow_fallbacks), "allow_fallbacks")
            ),
            provider_object=self._provider_object(),
            model_span=model_span,
            ours=ours,
            stream=fields.stream is True,
            has_history=has_history(messages),
        )

    def _ours(self) -> tuple[Member, ...]:
        found = ((field, getattr(self._fields, field)) for field in OURS)
        return tuple(member_at(self._view, field, self._span(raw)) for field, raw in found if raw is not ABSENT)

    def _span(self, value: Raw) -> Span:
        return Span(address(value) - self._address, len(memoryview(value)))

    def _starts_with_both(self, model: Span, messages: tuple[Raw, ...]) -> bool:
        """Whether the body begins with model and messages, as nearly all do; the decoder took the last of each."""
        first = address(messages[0]) - self._address
        if found := _MODEL_FIRST.match(self._view):
            return found.start(1) == model.offset and found.end() == first
        if len(messages) < MAX_MESSAGES and (found := _MESSAGES_FIRST.match(self._view)) and found.end() == first:
            last = self._span(messages[-1])
            found = _THEN_MODEL.match(self._view, last.offset + last.length)
            return found is not None and found.end() == model.offset
        return False

    def _written(self, value: Raw) -> Text:
        return as_written(value, self._body, self._text)

    def _words(self, field: str, value: Raw) -> str | None:
        return None if value is ABSENT else words(self._written(value), field) or None

    def _user(self) -> str | None:
        value = self._fields.user
        if value is not ABSENT and is_long(written := self._written(value)):
            return xxh3_128_hexdigest(memoryview(written))
        return self._words("user", value)

    def _limit(self) -> int | None:
        if self._fields.max_tokens is ABSENT and self._fields.max_completion_tokens is ABSENT:
            return None
        fields = ("max_completion_tokens", "max_tokens")
        raws = ((field, getattr(self._fields, field)) for field in fields)
        limits = [whole_number(self._written(raw), field) for field, raw in raws if raw is not ABSENT]
        return min((limit for limit in limits if limit is not None and limit > 0), default=None)

    def _provider_object(self) -> ProviderObject | None:
        value = self._fields.provider
        if value is ABSENT:
            return None
        provider_object = parse_provider_object(self._written(value))
        return None if provider_object is None else replace(provider_object, lists=lists_of(self._view, value))

    def _require_no_doubles(self, model: Span, first_message: Raw, ours: tuple[Member, ...]) -> None:
        """Of two members with one key a provider may believe either, and here one of them was read.

        What was read is the last one. So every key that was found is made unrecognisable, and what is still found in
        the text before the last of them is an earlier one.
        """
        view = self._view
        keys = [key_of(view, model.offset), key_of(view, array_at(view, self._span(first_message).offset))]
        keys += [key_of(view, member.value) for member in ours]
        end = max(key.offset for key in keys)
        before = bytearray(view[:end])
        for offset, length in keys:
            if offset < end:
                before[offset + length - 2] = _NO_LETTER
        before += b'"":0}'
        try:
            _DOUBLES.decode(before)
        except msgspec.ValidationError as error:
            field = decode_error(error).param
            raise BadRequestError(field, f"the body has the key '{field}' more than once") from error


_NO_LETTER: Final = 0x30
"""Ends none of the names in `_ONCE`, nor the escape of a letter that does."""


def _misspelled(key: str) -> BadRequestError:
    return BadRequestError(
        key, f"the body has the key '{key}': some providers take it for 'model', so write 'model' alone"
    )


def _require_no_other_model(model: str, others: list[str]) -> None:
    if any(other != model for other in others):
        message = (
            "'models' asks for other models should the first one fail, which is not done here: "
            "leave it out, and ask for one model by 'model'"
        )
        raise BadRequestError("models", message)
