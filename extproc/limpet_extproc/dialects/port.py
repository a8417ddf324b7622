"""The port that every dialect implements, and the values that it works with: parsed requests and refusals."""

from typing import Literal, Protocol

import msgspec

from limpet_extproc.contract.catalog import DialectName
from limpet_extproc.contract.reasons import WorkerRefusal
from limpet_extproc.dialects.spans import Body, Member, Span

Sort = Literal["price", "latency", "throughput"]


class BadRequestError(Exception):
    """The client's request cannot be understood.

    `param` is the field, the message what is wrong and what to write, `code` the word for programs, if there is one.
    """

    def __init__(self, param: str | None, message: str, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.message = message
        self.code = code


class Refusal(msgspec.Struct, frozen=True, gc=False):
    """The request ends here. How it is worded as JSON is up to the client's dialect."""

    status: int
    reason: WorkerRefusal
    """For the decision header."""
    message: str
    param: str | None = None
    """The field of the request that is wrong."""
    code: str | None = None


class ProviderObject(msgspec.Struct, frozen=True):
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
    unsupported: tuple[str, ...] = ()
    """Demands that only a provider that reads the object itself can meet, named as an error's `param`."""
    lists: tuple[Member, ...] = ()
    """Where `order`, `only` and `ignore` stand in the body."""


class ParsedRequest(msgspec.Struct, frozen=True, gc=False):
    """The parts of a request that routing needs, in whatever dialect."""

    model: str
    fingerprint: bytes
    """Hash of what opens the conversation, in a canonical form."""
    session_id: str | None = None
    """Limpet's own field, the same in all dialects."""
    session_hints: tuple[tuple[str, str], ...] = ()
    """Fields of the dialect itself that name a conversation, with their values, the surest first."""
    user: str | None = None
    max_output_tokens: int | None = None
    allow_fallbacks: bool | None = None
    provider_object: ProviderObject | None = None
    model_span: Span = Span(0, 0)
    """The model's name in the body, quotes included."""
    ours: tuple[Member, ...] = ()
    """Fields meant for Limpet, null or not: a provider may refuse what it does not know."""
    stream: bool = False
    has_history: bool = False
    """Whether it answers something: it is not the first request of its conversation."""


class Dialect(Protocol):
    """The API that a client speaks. One module each; `registry` lists them."""

    @property
    def name(self) -> DialectName:
        """As in the catalog."""

    @property
    def paths(self) -> tuple[str, ...]:
        """Of the requests that are routed, without what a gateway puts before them."""

    def parse(self, body: Body) -> ParsedRequest:
        """Read a request. Raises BadRequestError, which names the field and what belongs there."""

    def error_body(self, refusal: Refusal) -> bytes:
        """The refusal as this API writes its errors."""
