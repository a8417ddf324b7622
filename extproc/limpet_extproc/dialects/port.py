"""The port that every dialect implements, and the values that it works with: parsed requests and refusals."""

from typing import Literal, NamedTuple, Protocol

import msgspec

from limpet_extproc.contract.apis import Asked
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
    model: str = ""
    """The one that was asked for, where it is known."""
    client: str = ""
    """The name of the client's key, where it is the reason."""
    limit: str = ""
    """The limit of that key which was reached, as `requestsPerMinute`."""
    retry_after_s: int | None = None
    """When it may be worth trying again; None: not by waiting."""


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


class CacheDirectives(msgspec.Struct, frozen=True, gc=False):
    """What a request says about the prompt caches of providers."""

    top_level: Member | None = None
    """`cache_control` of the request itself."""
    marks: tuple[Member, ...] = ()
    """`cache_control` of single blocks of the prompt, in the order of the body."""
    marks_ttl_s: float | None = None
    """How long the shortest-lived of these lasts; None: as is usual at the provider."""
    has_key: bool = False
    """Whether there is a `prompt_cache_key` that says something."""
    retention: tuple[Member, ...] = ()
    """`prompt_cache_retention` and `prompt_cache_options`."""
    retention_ttl_s: float | None = None
    """The shorter that they ask for; None: as is usual at the provider."""


ModelForm = Literal["json", "plain", "missing"]
"""How a model's name stands in a body: as a JSON string, as it is (in a form), or not at all. To name it in
a JSON object that does not, `"model":"…",` is put at the span."""


class LastBlock(NamedTuple):
    """A place for a breakpoint."""

    span: Span
    """The text of a message, quotes included, or the last block that may have a breakpoint, braces included."""
    is_text: bool
    """Whether it is a text, which has to become a block first."""


class Pin(NamedTuple):
    """What a request goes on from, which lives at one provider."""

    field: str
    """`previous_response_id` or `conversation`."""
    id: str


class PromptLayout(msgspec.Struct, frozen=True, gc=False):
    """Where the parts of a prompt stand that two prompts can have in common, see `prompt_layout`."""

    tools: Span
    """Length 0: there are none; so of the next."""
    system: Span
    """The system prompt, where the API has a field for it."""
    start: int
    """Of the first message."""
    opened: int
    """Where those first messages end that are system prompts; `start`: there are none."""
    ends: tuple[int, ...]
    """Of the messages after these, as far as they are kept."""
    count: int
    """Of all boundaries: after tools, after the system prompt, after each message."""
    no_prompt: tuple[Span, ...] = ()
    """What is passed over."""
    marks: tuple[int, ...] = ()
    """Where the client's own breakpoints stand, within what is passed over."""


class ParsedRequest(msgspec.Struct, frozen=True, gc=False):
    """The parts of a request that routing needs, in whatever dialect."""

    model: str
    """Empty only where the API does not require one."""
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
    """The model's name in the body, in JSON with its quotes; length 0: it is not there."""
    model_form: ModelForm = "json"
    model_differs: bool = False
    """Whether the body names another one than the path, which counts."""
    ours: tuple[Member, ...] = ()
    """Fields meant for Limpet, null or not: a provider may refuse what it does not know."""
    stream: bool = False
    has_history: bool = False
    """Whether it answers something: it is not the first request of its conversation."""
    cache: CacheDirectives | None = None
    """None: nothing."""
    service_tier: str = ""
    """As it names one; empty: it does not."""
    usage_asked: bool = True
    """Whether the client wants the usage of a stream; False only for a stream that would carry none."""
    stream_options: Span | None = None
    """Where these stand in the body, if they do and usage is not asked for."""
    pin: Pin | None = None
    kept: bool = False
    """Whether the provider keeps the answer, so that requests may go on from it."""
    layout: PromptLayout | None = None
    """None: the API has no conversations."""
    last_blocks: tuple[LastBlock, ...] | msgspec.UnsetType = msgspec.UNSET
    """What `Dialect.last_blocks` finds; unset: it was not looked for."""


class Dialect(Protocol):
    """How the requests of an API are read and its errors written. `registry` lists them."""

    @property
    def name(self) -> str:
        """`apis.Api.name`, or a word for all the APIs that are read alike."""

    def parse(self, body: Body, asked: Asked) -> ParsedRequest:
        """Read a request. Raises BadRequestError, which names the field and what belongs there."""

    def last_blocks(self, body: Body) -> tuple[LastBlock, ...]:
        """Where breakpoints go that cache the prompt of a body that `parse` has read, the last block first."""

    def error_body(self, refusal: Refusal) -> bytes:
        """The refusal as this API writes its errors."""
