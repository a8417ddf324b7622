"""What an answer to a probe costs. Pure."""

from collections.abc import Mapping
from typing import Any

import msgspec

from limpet_extproc.contract.health_stream import ProbeAnswer
from limpet_extproc.contract.prices import Price

_PER_TOKENS = 1_000_000


def cost_usd(answer: ProbeAnswer, price: Price | None) -> float | None:
    """Of a completion, in US dollars. An error costs nothing; None: unknown, as its price or its usage is missing."""
    if answer.status // 100 != 2:
        return 0.0
    usage = _usage(answer.body)
    chat = "prompt_tokens" in usage
    prompt = _tokens(usage, "prompt_tokens" if chat else "input_tokens")
    output = _tokens(usage, "completion_tokens" if chat else "output_tokens")
    if price is None or prompt is None or output is None:
        return None
    details = usage.get("prompt_tokens_details" if chat else "input_tokens_details")
    cached = min(prompt, _tokens(details, "cached_tokens") or 0)
    return ((prompt - cached) * price.input + cached * price.cache_read + output * price.output) / _PER_TOKENS


def _usage(body: str) -> Mapping[str, Any]:
    try:
        answer = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return {}
    usage = answer.get("usage") if isinstance(answer, Mapping) else None
    return usage if isinstance(usage, Mapping) else {}


def _tokens(counts: object, name: str) -> int | None:
    value = counts.get(name) if isinstance(counts, Mapping) else None
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
