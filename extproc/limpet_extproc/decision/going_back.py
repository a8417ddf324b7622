"""When a conversation goes back to a provider that it had to leave: by expected dollars, and never by habit."""

from collections.abc import Sequence
from typing import Final

from limpet_extproc.decision.filter import Filtered
from limpet_extproc.decision.price import turn_usd, usual_usd
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.memory import Warm

RETURN_MARGIN: Final = 0.1
"""By which part of the price of staying an earlier provider has to be cheaper: prompts and answers are estimates, and
each change of provider leaves a cache behind."""


def cheaper_place(
    filtered: Filtered, sticky: Warm, others: Sequence[Warm], query: Query, states: ProviderStates, now_s: float
) -> Warm | None:
    """The one of `others` at which this prompt costs so much less than at `sticky` that going back pays.

    It has to be well, to take new conversations too, and to have been well for a while. Without a price nobody knows.
    It also has to be cheaper for a usual request: as that depends on prices alone, no conversation goes to and fro.
    """
    price = filtered.lane.by_provider[sticky.provider].price
    usable = [each for each in others if _may_return(filtered, each.provider, states, now_s)]
    if price is None or not usable:
        return None
    prompt_tokens = max(query.prompt_tokens, sticky.prompt_tokens)
    stay_usd = turn_usd(price, prompt_tokens, sticky.prompt_tokens, query.output_tokens)
    best, best_usd = None, stay_usd * (1 - RETURN_MARGIN)
    for each in usable:
        earlier = filtered.lane.by_provider[each.provider].price
        if earlier is None or usual_usd(earlier) >= usual_usd(price):
            continue
        usd = turn_usd(earlier, prompt_tokens, each.prompt_tokens, query.output_tokens)
        if usd < best_usd:
            best, best_usd = each, usd
    return best


def _may_return(filtered: Filtered, provider: str, states: ProviderStates, now_s: float) -> bool:
    return (
        provider not in filtered.excluded
        and provider not in filtered.trials
        and provider not in filtered.shares
        and filtered.lane.by_provider[provider].weight > 0
        and states.has_been_well(provider, filtered.lane.model, now_s)
    )
