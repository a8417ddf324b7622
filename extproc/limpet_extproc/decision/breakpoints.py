"""Where the prompt is marked for caching by `cache_control`, and where Limpet adds that mark."""

from typing import Final

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.price import price_for
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Candidate

_LEAST_TOKENS: Final = 1024
"""Of the tools and the system prompt of an agent, where the provider's minimum is lower or unknown."""


def adds_breakpoint(candidate: Candidate, query: Query) -> bool:
    """Whether promptCaching Auto adds a breakpoint at the end of the prompt for this provider.

    It does where that pays by the second turn, which has to be likely: the conversation has an answer already, or it
    begins with as many tools and instructions as an agent's. An unknown price does not speak against it: it pays at the
    vendors' own (Anthropic's prompt caching guide, 2026: a write costs 1.25 times the input, a read a tenth).
    """
    if (
        candidate.prompt_caching != "Auto"
        or not candidate.caches
        or candidate.cache_control == "None"
        or query.marked
        or query.prompt_tokens < candidate.min_tokens
        or not (query.has_history or query.lasting_tokens >= max(candidate.min_tokens, _LEAST_TOKENS))
    ):
        return False
    price = price_for(candidate, query.tier_tokens)  # a service tier changes all prices alike
    return price is None or pays_by_the_second_turn(price)


def pays_by_the_second_turn(price: Price) -> bool:
    """Whether writing a prompt and reading it once costs less than sending it twice."""
    return price.cache_write + price.cache_read < 2 * price.input


def gets_mark(candidate: Candidate, query: Query) -> bool:
    """Whether this provider gets the request with a mark that it reads."""
    return (candidate.cache_control != "None" and query.marked) or adds_breakpoint(candidate, query)
