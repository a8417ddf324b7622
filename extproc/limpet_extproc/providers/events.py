"""What can happen to a provider, as values: a worker applies them to its states and sends them to other workers.

They carry no times: each takes effect when it arrives, on the receiver's own clock, so that clocks which differ or
jump change nothing. An empty `model` means that no worker has read which one was asked for. `age_s` is a length of
time: how long before the outcome the request was decided.
"""

from typing import Annotated, TypeAlias

import msgspec

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.contract.health_stream import BoundedCount, Seconds
from limpet_extproc.decision.slowness import Timing
from limpet_extproc.providers.limit_events import LimitEvent, UseReported

Age: TypeAlias = Annotated[float, msgspec.Meta(ge=-1e10, le=1e10)]
"""Below 0 where a clock was read a moment earlier."""


class AttemptSucceeded(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An attempt got an answer."""

    provider: str
    model: str = ""
    timing: Timing | None = None
    """None: not measured."""
    age_s: Age = 0.0


class AnswerGenerated(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An answer of so many tokens was complete `seconds` after its request."""

    provider: str
    tokens: BoundedCount
    seconds: Seconds
    model: str = ""
    prompt_tokens: BoundedCount = 0
    """Of the request, by the provider's count; 0: not told."""
    estimated_tokens: BoundedCount = 0
    """The same as they were estimated when it was decided."""


class AttemptFailed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An attempt got no answer, or one that shows the provider, or the model there, to be broken.

    Which of the two is the cause's to say (`attempt.OF_THE_PROVIDER`).
    """

    provider: str
    model: str = ""
    cause: Cause = ""
    age_s: Age = 0.0
    conversation: str = ""
    """A short form of the conversation's key, where the cause may lie in the request: then it counts once in a row."""


class AttemptLimited(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An attempt was answered that the provider is over its limit for this model, or overloaded."""

    provider: str
    model: str = ""
    retry_after_s: float | None = None
    """What it asked to wait, more than 0; None: it did not say."""
    cause: Cause = "Limited"
    age_s: Age = 0.0


class TrialBegan(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """A request is sent to a provider that was out."""

    provider: str
    model: str = ""


class RequestRefused(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """An attempt was answered that the request is wrong: the provider is there and takes our key."""

    provider: str
    model: str = ""
    age_s: Age = 0.0


class TrialEnded(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """A request ended without showing anything of the provider that it was meant for, for example as its client left.

    If it was a trial, the next request may be one.
    """

    provider: str
    model: str = ""


class ProviderDegraded(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """The attempts that one gateway saw show the provider, or the model there, to be degraded.

    For other gateways, which see neither those attempts' successes nor their speed. Workers beside the same Envoy come
    to it by themselves.
    """

    provider: str
    model: str
    cause: Cause


ProviderEvent: TypeAlias = (
    AttemptSucceeded
    | AnswerGenerated
    | AttemptFailed
    | AttemptLimited
    | RequestRefused
    | TrialBegan
    | TrialEnded
    | ProviderDegraded
)

GatewayEvent: TypeAlias = ProviderEvent | UseReported
"""What they tell workers beside other Envoys."""

WorkerEvent: TypeAlias = ProviderEvent | LimitEvent
"""All that workers tell each other."""
