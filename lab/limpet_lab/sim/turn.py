"""One turn of a conversation, whatever the API in which it came."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple, Protocol

import msgspec

from limpet_lab.sim.answer import Answer
from limpet_lab.sim.prompt import Prompt
from limpet_lab.sim.wire import Head, Usage


class Mark(NamedTuple):
    """An explicit breakpoint of the prompt cache."""

    segment: int
    """The last one of the prefix."""
    ttl_s: float


class AskedTurn(msgspec.Struct, frozen=True):
    """A valid request."""

    body: dict[str, object]
    model: str
    prompt: Prompt
    stream: bool = False
    max_tokens: int | None = None
    tool: Mapping[str, object] | None = None
    """The declared function that the answer has to call: its `name`, and `parameters` as a schema."""
    schema: Mapping[str, object] | None = None
    """What a structured answer has to match."""
    marks: tuple[Mark, ...] = ()
    reasoning: int = 0
    """Tokens of thoughts before the answer."""


class AnswerWriter(Protocol):
    """How an API writes an answer."""

    @property
    def id_prefix(self) -> str:
        """What ids of answers begin with."""

    def whole(self, head: Head, answer: Answer, usage: Usage) -> bytes:
        """The answer as one JSON object."""

    def events(self, head: Head, answer: Answer, usage: Usage) -> Iterator[bytes]:
        """The answer as server-sent events."""

    def kept(self, prompt: Prompt, head: Head, answer: Answer) -> Prompt:
        """The prompt together with its answer, as the next turn will begin."""
