"""Any body, however unusual: what is read alike of the requests of all conversations' APIs.

One pass of the decoder over the body, however long it is, and a second one for doubled keys: nothing here is done once
for each token, member, message or part.
"""

import re
from collections.abc import Sequence
from itertools import product
from typing import Annotated, Any, Final, Generic, TypeAlias, TypeVar, cast

import msgspec
from msgspec import Meta, Raw
from msgspec.structs import replace
from xxhash import xxh3_128_hexdigest

from limpet_extproc.dialects.json_errors import decode_error
from limpet_extproc.dialects.opener import ABSENT, MAX_MESSAGES, READ_MESSAGES
from limpet_extproc.dialects.port import BadRequestError, ParsedRequest, ProviderObject
from limpet_extproc.dialects.provider_object import lists_of, parse_provider_object
from limpet_extproc.dialects.spans import Body, Member, Span, Text, address, array_at, key_of, member_at
from limpet_extproc.dialects.text import (
    as_written,
    boolean,
    decode,
    is_long,
    name,
    names,
    whole_number,
    words,
)

OURS: Final = ("provider", "allow_fallbacks", "session_id", "models")
"""Fields meant for us; a provider may refuse a request that has them."""

MISSPELT: Final = tuple("".join(letters) for letters in product(*(c + c.upper() for c in "model")))[1:]
"""`Model`, `MODEL` and so on: a provider written in Go takes each of them for `model`, and the last one wins."""

_Never: TypeAlias = Annotated[int, Meta(gt=0, lt=0)]
"""A value that nothing is, so that the decoder ends where the first one begins."""


class Fields(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """What every such API has, and Limpet's own fields."""

    model: Raw = ABSENT
    provider: Raw = ABSENT
    allow_fallbacks: Raw = ABSENT
    session_id: Raw = ABSENT
    models: Raw = ABSENT
    stream: bool | None = None
    service_tier: Raw = ABSENT


_OURS_AT: Final = slice(1, 1 + len(OURS))
"""Of `Fields`."""
_NONE_OF_OURS: Final = (ABSENT,) * len(OURS)

F = TypeVar("F", bound=Fields)


class BodyShape(Generic[F]):
    """The bodies of one API; `prompt` is its field with the messages, if it has one.

    `once` are fields of it that may not stand there twice either, besides model, prompt and Limpet's own.
    """

    def __init__(self, fields: type[F], prompt: str = "", prompt_type: Any = Raw, once: Sequence[str] = ()) -> None:
        members: list[Any] = [(prompt, prompt_type)] if prompt else []
        members += ((spelling, _Never, 0) for spelling in MISSPELT)
        self.prompt: Final = prompt
        self.once: Final = once
        key = prompt.encode()
        body = msgspec.defstruct("Body", members, bases=(fields,), frozen=True, gc=False, kw_only=True)
        self.body: Final[msgspec.json.Decoder[F]] = msgspec.json.Decoder(cast("type[F]", body))
        self.doubles: Final = msgspec.json.Decoder(
            msgspec.defstruct(
                "Doubles",
                [(field, _Never, 0) for field in ("model", *OURS, *once, *([prompt] if prompt else []))],
                frozen=True,
                gc=False,
            )
        )
        self.model_first: Final = re.compile(rb'\s*\{\s*"model"\s*:\s*("[^"\\]*")\s*,\s*"' + key + rb'"\s*:\s*\[\s*')
        self.prompt_first: Final = re.compile(rb'\s*\{\s*"' + key + rb'"\s*:\s*\[\s*')


_BEGIN: Final = re.compile(rb"(\s*\{)\s*")
_BRACE: Final = 0x7D
_NULL: Final = b"null"
_THEN_MODEL: Final = re.compile(rb'\s*\]\s*,\s*"model"\s*:\s*')


class CarefulReader(Generic[F]):
    """Reads one body."""

    __slots__ = ("_address", "_shape", "_view", "body", "fields", "text")

    def __init__(self, shape: BodyShape[F], body: Body) -> None:
        """Raises BadRequestError if this is no body of that shape."""
        self._shape = shape
        self.body: Final = body
        self.text: Body
        try:
            self.fields, self.text = decode(shape.body, body)
        except BadRequestError as error:
            if error.param in MISSPELT:
                raise _misspelt(error.param) from error
            raise
        self._view = memoryview(self.text)
        self._address = address(self.text)

    def request(self, messages: Sequence[Raw] = (), prompt: Span | None = None, asked_model: str = "") -> ParsedRequest:
        """What is the same in all dialects, which leaves the fingerprint to be added. Raises BadRequestError.

        `prompt` is the value of the field with the messages; None if they are an array, and these are its first.
        `asked_model`: see `Asked`.
        """
        fields, shape = self.fields, self._shape
        written, model_span = self._model(asked_model)
        model = asked_model or written
        if shape.prompt and not messages and prompt is None:
            raise BadRequestError(shape.prompt, f"'{shape.prompt}' is empty; send at least one message")
        ours = self._ours() if msgspec.structs.astuple(fields)[_OURS_AT] != _NONE_OF_OURS else ()
        values = [self.span(raw).offset for field in shape.once if (raw := getattr(fields, field)) is not ABSENT]
        if prompt:
            values.append(prompt.offset)
        if ours or values or not messages or not self._starts_with_both(model_span, messages):
            if messages and not prompt:
                values.append(array_at(self._view, self.span(messages[0]).offset))
            if model_span.length:
                values.append(model_span.offset)
            self._require_no_doubles([*values, *(member.value for member in ours)])
        if fields.models is not ABSENT:
            _require_no_other_model(model, names(self.written(fields.models), "models"))
        return ParsedRequest(
            model=model,
            fingerprint=b"",
            session_id=self.words("session_id", fields.session_id),
            allow_fallbacks=(
                None
                if fields.allow_fallbacks is ABSENT
                else boolean(self.written(fields.allow_fallbacks), "allow_fallbacks")
            ),
            provider_object=self._provider_object(),
            model_span=model_span,
            model_form="json" if model_span.length else "missing",
            model_differs=model_span.length > 0 and model != written,
            ours=ours,
            stream=fields.stream is True,
            service_tier=self._service_tier(),
        )

    def span(self, value: Raw) -> Span:
        """Where the value stands."""
        return Span(address(value) - self._address, len(memoryview(value)))

    def member(self, field: str, value: Raw) -> Member:
        """The member that has the value."""
        return member_at(self._view, field, self.span(value))

    def written(self, value: Raw) -> Text:
        """The value as the client wrote it."""
        return as_written(value, self.body, self.text)

    def all_written(self, values: Sequence[Raw]) -> Sequence[Text]:
        """The same of each of the first ones."""
        return values if self.text is self.body else [self.written(value) for value in values[:MAX_MESSAGES]]

    def words(self, field: str, value: Raw) -> str | None:
        """A string, or None if it is absent, null, empty or too long for a name. Raises BadRequestError."""
        return None if value is ABSENT else words(self.written(value), field) or None

    def person(self, field: str, value: Raw) -> str | None:
        """A string that is hashed if it is too long for a name. Raises BadRequestError."""
        if value is not ABSENT and is_long(written := self.written(value)):
            return xxh3_128_hexdigest(memoryview(written))
        return self.words(field, value)

    def least(self, **limits: Raw) -> int | None:
        """The least of these numbers of tokens that are positive, by their fields. Raises BadRequestError."""
        found = [whole_number(self.written(raw), field) for field, raw in limits.items() if raw is not ABSENT]
        return min((limit for limit in found if limit is not None and limit > 0), default=None)

    def _model(self, asked_model: str) -> tuple[str, Span]:
        value = self.fields.model
        if value is ABSENT:
            begin = _BEGIN.match(self._view)
            assert begin is not None  # the decoder has read an object
            if (not asked_model and self._shape.prompt) or self._view[begin.end()] == _BRACE:
                raise BadRequestError("model", "'model' is missing")
            return "", Span(begin.end(1), 0)
        model = "" if asked_model and bytes(value) == _NULL else name(self.written(value), "model")
        if not model and not asked_model:
            raise BadRequestError("model", "'model' is empty; name a model, GET /v1/models lists them")
        return model, self.span(value)

    def _ours(self) -> tuple[Member, ...]:
        found = ((field, getattr(self.fields, field)) for field in OURS)
        return tuple(self.member(field, raw) for field, raw in found if raw is not ABSENT)

    def _starts_with_both(self, model: Span, messages: Sequence[Raw]) -> bool:
        """Whether the body begins with model and messages, as nearly all do; the decoder took the last of each."""
        shape, first = self._shape, address(messages[0]) - self._address
        if found := shape.model_first.match(self._view):
            return found.start(1) == model.offset and found.end() == first
        if len(messages) < READ_MESSAGES and (found := shape.prompt_first.match(self._view)) and found.end() == first:
            last = self.span(messages[-1])
            found = _THEN_MODEL.match(self._view, last.offset + last.length)
            return found is not None and found.end() == model.offset
        return False

    def _service_tier(self) -> str:
        """Its price alone depends on it: what is wrong with it is the provider's to say."""
        try:
            return self.words("service_tier", self.fields.service_tier) or ""
        except BadRequestError:
            return ""

    def _provider_object(self) -> ProviderObject | None:
        value = self.fields.provider
        if value is ABSENT:
            return None
        provider_object = parse_provider_object(self.written(value))
        return None if provider_object is None else replace(provider_object, lists=lists_of(self._view, value))

    def _require_no_doubles(self, values: Sequence[int]) -> None:
        """Of two members with one key a provider may believe either, and here one of them was read.

        What was read is the last one. So every key that was found is made unrecognisable, and what is still found in
        the text before the last of them is an earlier one.
        """
        view = self._view
        keys = [key_of(view, value) for value in values]
        end = max((key.offset for key in keys), default=0)
        if not end:
            return
        before = bytearray(view[:end])
        for offset, length in keys:
            if offset < end:
                before[offset + length - 2] = _NO_LETTER
        before += b'"":0}'
        try:
            self._shape.doubles.decode(before)
        except msgspec.ValidationError as error:
            field = decode_error(error).param
            raise BadRequestError(field, f"the body has the key '{field}' more than once") from error


_NO_LETTER: Final = 0x30
"""Ends none of the names in `once`, nor the escape of a letter that does."""


def _misspelt(key: str) -> BadRequestError:
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
