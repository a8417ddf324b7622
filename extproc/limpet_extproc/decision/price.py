"""What a prompt is expected to cost at a provider, in US dollars. An unknown price stays unknown; it is never free."""

from typing import Final

from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.reasons import UnstickyReason
from limpet_extproc.decision.breakpoints import gets_mark
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Candidate

BYTES_PER_TOKEN: Final = 3.0
"""Between English prose (about 4) and code, JSON and other scripts (2 to 3). Guessing high on tokens costs nothing: a
conversation that stays although its prompt is below the minimum is no worse off; one that moves although it is above
pays full price."""

DEFAULT_OUTPUT_TOKENS: Final = 400
"""Expected length of an answer when the client sets no limit below it."""

_USUAL_PROMPT_TOKENS: Final = 10_000
_USUAL_WARM_TOKENS: Final = 9_000
"""A turn of a conversation that has gone on for a while: most of it is warm."""

_PER_MTOK: Final = 1e-6


def cold_usd(price: Price, prompt_tokens: int, output_tokens: int) -> float:
    """Dollars for one request at a provider that has none of it warm."""
    return _PER_MTOK * (prompt_tokens * price.cache_write + output_tokens * price.output)


def warm_usd(price: Price, prompt_tokens: int, warm_tokens: int, output_tokens: int) -> float:
    """The same at a provider that has the first `warm_tokens` of it warm, if it is as long as that."""
    warm_tokens = min(warm_tokens, prompt_tokens)
    return cold_usd(price, prompt_tokens - warm_tokens, output_tokens) + _PER_MTOK * warm_tokens * price.cache_read


def usual_usd(price: Price) -> float:
    """Dollars for a usual turn of a conversation: what compares two providers by their prices alone."""
    return warm_usd(price, _USUAL_PROMPT_TOKENS, _USUAL_WARM_TOKENS, DEFAULT_OUTPUT_TOKENS)


def why_not_sticky(candidate: Candidate, query: Query, prompt_tokens: int = 0) -> UnstickyReason | None:
    """None if staying at this provider pays, else the reason why it does not.

    `prompt_tokens`: the prompt counts as at least that long.
    Where the price is unknown it pays if the vendor caches at all: a self-hosted engine gains time to the first token.
    """
    if not candidate.caches:
        return "unsticky.no_cache"
    if max(query.prompt_tokens, prompt_tokens) < candidate.min_tokens:
        return "unsticky.below_minimum"
    if candidate.cache_fields.only_marked and not gets_mark(candidate, query):
        return "unsticky.no_breakpoint"
    if candidate.price is not None and candidate.price.cache_read >= candidate.price.input:
        return "unsticky.no_discount"
    return None
