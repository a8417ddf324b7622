"""When a head that many conversations share is brought to another provider: one of them has to pay for that.

For each conversation alone it may be right to read the head where it is warm, although all of them together pay more
there than it costs to write it once where they are cheaper, as when a price window has opened. How many will come is
unknown. So each makes the move with the chance by which its own loss pays for it: then about as much is lost before the
move as the move costs, which no rule without knowledge of the future can better by much (ski rental).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from limpet_extproc.decision.pick import unit
from limpet_extproc.decision.price import PER_MTOK
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.request_price import is_cached, request_price
from limpet_extproc.decision.snapshot import Candidate
from limpet_extproc.decision.warmth import Warmth

_APART: Final = b"head "
"""Keeps these numbers apart from those of the spread."""


_ROUNDING: Final = 1e-9
"""What may be lost of a cost by reckoning with numbers that are not exact."""


def with_moved_heads(candidates: Sequence[Candidate], usd: list[float], query: Query, warmth: Warmth) -> list[float]:
    """`usd`, what each costs (`totals`), with the head as warm where this conversation is the one to bring it there."""
    moves = _moves(candidates, usd, query, warmth)
    if not moves:
        return usd
    return [
        _if_moved(candidate, cold, move, query) if move is not None else cold
        for candidate, cold, move in zip(candidates, usd, moves, strict=True)
    ]


def may_move_heads(candidates: Sequence[Candidate], usd: list[float], query: Query, warmth: Warmth) -> list[bool]:
    """For each, whether a conversation may be the one to bring the head there; empty: nowhere."""
    moves = _moves(candidates, usd, query, warmth)
    return [move is not None for move in moves] if any(moves) else []


class _Move(NamedTuple):
    """What bringing the head to a candidate costs, and what is lost by leaving it where it is."""

    usd: float
    lost_usd: float


def _moves(candidates: Sequence[Candidate], usd: list[float], query: Query, warmth: Warmth) -> list[_Move | None]:
    """For each, None where nothing is lost; empty: no head is warm where it costs least."""
    if warmth.own or not warmth.tokens:
        return []
    least = min(usd)
    tokens = warmth.tokens.get(candidates[usd.index(least)].provider, 0)
    if not tokens:
        return []
    return [
        _move(candidate, cold, least, tokens - warmth.tokens.get(candidate.provider, 0), query)
        for candidate, cold in zip(candidates, usd, strict=True)
    ]


def _move(candidate: Candidate, cold_usd: float, least_usd: float, tokens: int, query: Query) -> _Move | None:
    price = request_price(candidate, query)
    if tokens <= 0 or price is None or not is_cached(candidate, query):
        return None
    move_usd = PER_MTOK * tokens * (price.cache_write - price.cache_read)
    lost_usd = least_usd - (cold_usd - move_usd)
    return _Move(move_usd, lost_usd) if lost_usd > _ROUNDING * least_usd else None


def _if_moved(candidate: Candidate, cold_usd: float, move: _Move, query: Query) -> float:
    pays = unit(_APART + query.key + candidate.seed) * move.usd < move.lost_usd
    return cold_usd - move.usd if pays else cold_usd
