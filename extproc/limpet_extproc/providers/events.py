"""What can happen to a provider, as values: a worker applies them to its states and sends them to its siblings.

`now_s` is Unix time. An empty `model` means the provider with all its models.
"""

from typing import TypeAlias

import msgspec

from limpet_extproc.providers.limit_events import LimitEvent


class AttemptSucceeded(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An attempt got an answer."""

    provider: str
    now_s: float
    first_byte_s: float | None = None
    """Seconds from the request to the first byte of the answer; None: not measured."""
    model: str = ""


class AnswerGenerated(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An answer of so many tokens was complete `seconds` after its request."""

    provider: str
    tokens: int
    seconds: float


class AttemptFailed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An attempt got no answer, or one that shows the provider, or the model there, to be broken."""

    provider: str
    now_s: float
    model: str = ""


class AttemptLimited(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An attempt was answered that the provider is over its limit, and asked to wait `retry_after_s`."""

    provider: str
    now_s: float
    retry_after_s: float
    model: str = ""


class TrialBegan(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """A request is sent to a provider that was out."""

    provider: str
    now_s: float
    model: str = ""


ProviderEvent: TypeAlias = AttemptSucceeded | AnswerGenerated | AttemptFailed | AttemptLimited | TrialBegan

WorkerEvent: TypeAlias = ProviderEvent | LimitEvent
"""All that workers tell each other."""
