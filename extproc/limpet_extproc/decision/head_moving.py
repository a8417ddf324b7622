"""When a head that many conversations share is brought to another provider: one of them has to pay for that.

For each conversation alone it may be right to read the head where it is warm, although all of them together pay more
there than it costs to write it once where they are cheaper, as when a price window has opened. How many will come is
unknown. So each makes the move with the chance by which its own loss pays for it: then about as much is lost before the
move as the move costs, which no rule without knowledge of the future can better by much (ski rental).
"""

from collections.abc import Sequence

from limpet_extproc.decision.pick import unit
from limpet_extproc.decision.price import PER_MTOK
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import is_cached, request_price
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.warmth import Warmth

_APART = b"head "
"""Keeps these numbers apart from those of the spread."""


def with_moved_heads(candidates: Sequence[Candidate], usd: list[float], query: Query, warmth: Warmth) -> list[float]:
    """`usd`, what each costs (`totals`), with the head as warm where this conversation is the one to bring it there."""
    if warmth.own or not warmth.tokens:
        return usd
    least = min(usd)
    tokens = warmth.tokens.get(candidates[usd.index(least)].provider, 0)
    if not tokens:
        return usd
    return [
        _if_moved(candidate, cold, least, tokens - warmth.tokens.get(candidate.provider, 0), query)
        for candidate, cold in zip(candidates, usd, strict=True)
    ]


def _if_moved(candidate: Candidate, cold_usd: float, least_usd: float, tokens: int, query: Query) -> float:
    price = request_price(candidate, query)
    if tokens <= 0 or price is None or not is_cached(candidate, query):
        return cold_usd
    move_usd = PER_MTOK * tokens * (price.cache_write - price.cache_read)
    lost_usd = least_usd - (cold_usd - move_usd)
    pays = lost_usd > 0 and unit(_APART + query.key + candidate.seed) * move_usd < lost_usd
    return cold_usd - move_usd if pays else cold_usd
