"""One module an API: where its requests keep the model, the messages and the hints about the conversation."""

import re
from typing import Final, Literal

import msgspec

from limpet_extproc.dialects.spans import Member, Span

Sort = Literal["price", "latency", "throughput"]


class BadRequest(Exception):  # noqa: N818 (says what happened)
    """The client's request cannot be understood. `param` is the field, the message what is wrong and what to write."""

    def __init__(self, param: str | None, message: str) -> None:
        super().__init__(message)
        self.param = param
        self.message = message


class Controls(msgspec.Struct, frozen=True):
    """The `provider` object by which a client steers; its fields are those that OpenRouter's users know."""

    order: tuple[str, ...] = ()
    only: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    sort: Sort | None = None
    allow_fallbacks: bool | None = None
    max_prompt_usd: float | None = None
    """Per million tokens."""
    max_completion_usd: float | None = None
    """Per million tokens."""
    no_training: bool = False
    """`data_collection: deny`."""
    no_retention: bool = False
    """`zdr: true`."""
    beyond: tuple[str, ...] = ()
    """Demands that only a provider who reads the object itself can meet, as the error's `param` would name them."""
    lists: tuple[Member, ...] = ()
    """Where `order`, `only` and `ignore` stand in the body."""


class ChatRequest(msgspec.Struct, frozen=True, gc=False):
    """What every dialect's request comes down to."""

    model: str
    fingerprint: bytes
    """Hash of what opens the conversation, in a canonical form."""
    session_id: str | None = None
    prompt_cache_key: str | None = None
    user: str | None = None
    max_output_tokens: int | None = None
    allow_fallbacks: bool | None = None
    controls: Controls | None = None
    model_span: Span = Span(0, 0)
    """The model's name in the body, quotes included."""
    ours: tuple[Member, ...] = ()
    """Where the fields stand that are meant for us, be they null: a provider may refuse what it does not know."""
    stream: bool = False
    goes_on: bool = False
    """Whether it answers something: it is not the first request of its conversation."""


class Wrong(msgspec.Struct, frozen=True, gc=False):
    """A `BadRequest` on its way from one process to another."""

    param: str | None
    message: str


_AT: Final = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")
_TYPES: Final = re.compile(r"^Expected `(?P<right>[a-z |]+)`, got `(?P<got>[a-z]+)`$")
_IN_JSON: Final = {
    "str": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
}
"""The decoder names Python's types, clients write other languages."""
_MISSING: Final = re.compile(r"missing required field `(?P<field>[^`]+)`")


def decode_error(error: Exception, where: str = "") -> BadRequest:
    """The decoder's complaint in the words of the request: the field, and what it should have been."""
    if isinstance(error, RecursionError):
        return BadRequest(where or None, "the body is nested too deeply to be read")
    text = str(error)
    at = _AT.search(text)
    path = ".".join(part for part in (where, at["path"] if at else "") if part) or None
    text = _AT.sub("", text).replace("`", "'")
    if not isinstance(error, msgspec.ValidationError):
        return BadRequest(path, f"the body is not valid JSON: {text}")
    if missing := _MISSING.search(_AT.sub("", str(error))):
        field = f"{path}.{missing['field']}" if path else missing["field"]
        return BadRequest(field, f"'{field}' is missing")
    if path is None:
        return BadRequest(None, f"the body must be a JSON object: {text}")
    if types := _TYPES.match(_AT.sub("", str(error))):
        right = " or ".join(_IN_JSON.get(each, each) for each in types["right"].split(" | "))
        return BadRequest(
            path, f"'{path}' has the wrong type: write {right}, not {_IN_JSON.get(types['got'], types['got'])}"
        )
    return BadRequest(path, f"'{path}' has the wrong type: {text}")
