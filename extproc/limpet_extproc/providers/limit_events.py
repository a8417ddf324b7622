"""How workers tell each other what they ask providers with limits for; of other providers nothing is told.

A request is named by `started_s`, when it was decided on the clock of the worker that did. Nobody compares that time
with another; what is counted by the minute counts from when the event arrives.
"""

from typing import Annotated, TypeAlias

import msgspec

_MOST = 1_000_000_000
Amount: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=_MOST)]
"""Of requests or tokens; more cannot be meant."""


class RequestSent(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """A request begins at a provider with limits. For the workers beside the same Envoy."""

    provider: str
    started_s: float
    tokens: Amount
    """Of its prompt and of the answer that is expected, as far as can be estimated."""


class RequestEnded(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """That request ended, or goes on at another provider. For the workers beside the same Envoy."""

    provider: str
    started_s: float
    more_tokens: Annotated[int, msgspec.Meta(ge=-_MOST, le=_MOST)] = 0
    """Than were counted when it began; below 0: fewer."""


class UseReported(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """What one worker asks a provider with limits for; replaces its report before. For workers beside other Envoys."""

    provider: str
    worker: str
    under_way: Amount
    requests: Amount
    """Of the last minute, as are the tokens."""
    tokens: Amount


class EventsMissed(msgspec.Struct, frozen=True, gc=False, array_like=True, tag=True):
    """The receiver has lost events of a worker beside the same Envoy: ends of requests may be among them."""


LimitEvent: TypeAlias = RequestSent | RequestEnded | UseReported | EventsMissed
