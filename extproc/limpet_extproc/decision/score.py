"""Second step of a decision: what each candidate is expected to cost, or how it does by the client's own measure.

The lower, the better.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from limpet_extproc.contract.prices import Price
from limpet_extproc.decision.price import NEARLY_FREE_USD, PER_MTOK, turn_usd
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import request_price
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.speed import UNSEEN, by_latency, by_throughput
from limpet_extproc.decision.warmth import Warmth
from limpet_extproc.dialects.port import Sort


def expected_usd(
    candidates: Sequence[Candidate], query: Query, warm_tokens: Mapping[str, int] = MappingProxyType({})
) -> list[float]:
    """Dollars for the request at each; an unknown price counts as the dearest known one, and all unknown as equal.

    `warm_tokens`: by provider, how much of the prompt its cache should have. What is warm makes no unknown price lower.
    """
    lane = query.lane
    if plain := lane.plain_prices:  # nearly all requests
        prompt, output, least = query.prompt_tokens, query.output_tokens, NEARLY_FREE_USD
        if candidates is not lane.candidates:
            plain = tuple([each.price for each in candidates if each.price is not None])
        found = [
            cost if (cost := PER_MTOK * (prompt * price.input + output * price.output)) > least else least
            for price in plain
        ]
        if warm_tokens:
            for at, candidate in enumerate(candidates):
                if warm := warm_tokens.get(candidate.provider):
                    found[at] = max(turn_usd(plain[at], prompt, warm, output), NEARLY_FREE_USD)
        return found
    prices = [request_price(candidate, query) for candidate in candidates]

    def usd(price: Price, warm: int) -> float:
        return max(turn_usd(price, query.prompt_tokens, warm, query.output_tokens), NEARLY_FREE_USD)

    unknown = 0.0
    if None in prices:
        unknown = max((usd(price, 0) for price in prices if price is not None), default=1.0)
    return [
        unknown if price is None else usd(price, warm_tokens.get(candidate.provider, 0))
        for candidate, price in zip(candidates, prices, strict=True)
    ]


def weighted(usd: list[float], candidates: Sequence[Candidate], model: str, states: ProviderStates) -> list[float]:
    """These dollars, each times what was learned about the provider and the model there."""
    if not states.factors and not states.slow:
        return usd
    return [price * states.factor(each.provider, model) for price, each in zip(usd, candidates, strict=True)]


def by_sort(
    sort: Sort, candidates: Sequence[Candidate], query: Query, warmth: Warmth, states: ProviderStates, now_s: float
) -> list[tuple[float, ...]]:
    """By what the client wants them sorted by; equals by what this request costs there, with what is warm.

    By price, those whose price nobody knows come behind all others.
    """
    usd = expected_usd(candidates, query, warmth.tokens)
    if sort == "price":
        return [(float(candidate.price is None), each) for candidate, each in zip(candidates, usd, strict=True)]
    speeds = states.speeds.get(query.lane.model, {})
    rank = by_throughput if sort == "throughput" else by_latency
    ranks = [rank(speeds.get(candidate.provider, UNSEEN), now_s) for candidate in candidates]
    return [(*each, price) for each, price in zip(ranks, usd, strict=True)]
