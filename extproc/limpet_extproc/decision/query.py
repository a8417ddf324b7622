"""What is decided about."""

import msgspec

from limpet_extproc.decision.prefix import NO_CHAIN, Chain
from limpet_extproc.decision.snapshot import Lane
from limpet_extproc.decision.steering import Steering


class Query(msgspec.Struct, frozen=True, gc=False):
    """What a decision needs of one request."""

    lane: Lane
    key: bytes
    """The conversation; equal on all replicas. Of a request that belongs to none: the request itself."""
    prompt_tokens: int
    output_tokens: int
    steering: Steering | None = None
    stays: bool = True
    """Whether it belongs to a conversation, which may be warm somewhere."""
    service_tier: str = ""
    """The one that the request names, if any price depends on it; else empty."""
    marks_ttl_s: float | None = None
    """How long the shortest-lived of its own breakpoints lasts; None: as is usual at the provider."""
    retention_ttl_s: float | None = None
    """The same of what its fields about retention ask for."""
    marked: bool = False
    """Whether the client itself says by `cache_control` what is to be cached."""
    has_history: bool = False
    lasting_tokens: int = 0
    """Of the prompt: without its last message. Counted only where it decides."""
    pinned: str = ""
    """The one provider that has what it goes on from; empty: any will do."""
    placed: bool = False
    """Whether it makes what lives at one provider: all that a client makes should come to the same."""
    counted_tokens: int = 0
    """Of the prompt, as the model's prompts have been counted so far (`token_rate`); 0: unknown, or of no effect."""
    settings: bytes = b""
    """A hash of all else that it asks for, known with its chain."""
    chain: Chain = NO_CHAIN
    """Of the prompt; without boundaries where it is not known, or cannot matter."""

    @property
    def tier_tokens(self) -> int:
        """The length of the prompt by which the tier of a price is expected."""
        return self.counted_tokens or self.prompt_tokens
