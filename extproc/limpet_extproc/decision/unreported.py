"""What an answer has cost that did not report its tokens, as that of a client that has left early. Pure.

The provider charges for what it has generated, so it must count for a client's limit in dollars. The prompt counts as
it was estimated, with what was expected to be cached; a token of a stream for each STREAM_BYTES_PER_TOKEN that came,
and an answer in one piece as long as was expected.
"""

from typing import Final

from limpet_extproc.contract.record import Record
from limpet_extproc.decision.price import PER_MTOK, price_for
from limpet_extproc.decision.snapshot import Lane

STREAM_BYTES_PER_TOKEN: Final = 300
"""Chat completions send an event of about so much for each token (DeepSeek and OpenAI, 2026), Messages of half."""


def estimated_usd(lane: Lane, provider: str, record: Record, answer_bytes: int) -> float:
    """Of a conversation's request that this provider began to answer; 0: its price is not known."""
    candidate = lane.by_provider.get(provider)
    price = price_for(candidate, record.prompt_tokens, record.service_tier) if candidate is not None else None
    if price is None:
        return 0.0
    expected = dict(zip(record.order, record.cache.expected, strict=False))
    cached = min(expected.get(provider, 0), record.prompt_tokens)
    output = answer_bytes // STREAM_BYTES_PER_TOKEN if record.streamed else record.output_tokens
    paid = (record.prompt_tokens - cached) * price.input + cached * price.cache_read + output * price.output
    return PER_MTOK * paid


def more_output_usd(lane: Lane, provider: str, record: Record, reported: int, answer_bytes: int) -> float:
    """Of a stream that its client left: for what came beyond the tokens that had been reported by then."""
    candidate = lane.by_provider.get(provider)
    price = price_for(candidate, record.prompt_tokens, record.service_tier) if candidate is not None else None
    more = answer_bytes // STREAM_BYTES_PER_TOKEN - reported
    return 0.0 if price is None or not record.streamed or more <= 0 else PER_MTOK * more * price.output
