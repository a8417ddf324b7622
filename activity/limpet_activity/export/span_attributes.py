"""What spans say of a record, in the words of OpenTelemetry's conventions for generative AI and for HTTP, and in ours.

The conventions are those of the repository semantic-conventions-genai, which had no stable version in November 2026.
They renamed `cache_creation` to `cache_write` that year; both are written, as tools still read the one or the other.
"""

import math
from collections.abc import Mapping
from typing import Final, TypeAlias

from limpet_extproc.contract.activity import ActivityRecord, TriedProvider
from limpet_extproc.contract.apis import DialectName

AttributeValue: TypeAlias = str | bool | int | float
SpanAttributes: TypeAlias = Mapping[str, AttributeValue]

NOBODY: Final = "limpet"
"""The provider of what the gateway answers itself."""
COUNTING_OPERATION: Final = "count_tokens"
_DIALECTS: Final[frozenset[DialectName]] = frozenset({"OpenAIChat", "OpenAIResponses", "AnthropicMessages"})
_OPERATIONS: Final = {"embeddings": "embeddings", "completions": "text_completion"}
_WELL_KNOWN: Final = {
    "anthropic": "anthropic",
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "cohere": "cohere",
    "deepseek": "deepseek",
    "gemini": "gcp.gemini",
    "groq": "groq",
    "mistral": "mistral_ai",
    "moonshot": "moonshot_ai",
    "openai": "openai",
    "perplexity": "perplexity",
    "vertex": "gcp.vertex_ai",
    "xai": "x_ai",
}
"""Names of `gen_ai.provider.name` by how the name of a Provider begins."""

_LARGEST_INT: Final = 2**63 - 1
"""Of OTLP."""
_BAD_REQUEST: Final = 400
SERVER_ERROR: Final = 500


def operation(record: ActivityRecord) -> str:
    """What was asked for; a word of our own where the conventions have none; empty: nobody has read the request."""
    if record.kind == "counting":
        return COUNTING_OPERATION
    if record.kind == "conversation" and record.api in _DIALECTS:
        return "chat"
    return _OPERATIONS.get(record.api, record.api)


def provider_name(provider: str) -> str:
    """The well-known name where the name of a Provider begins with one, else its own."""
    begin = provider.rpartition("/")[2].partition("-")[0].lower()
    return _WELL_KNOWN.get(begin, provider) or NOBODY


def request_attributes(record: ActivityRecord) -> SpanAttributes:
    """Of the span of a request. What is not known is left out, and so are texts of errors."""
    provider = record.provider or (record.attempts[-1].provider if record.attempts else "")
    return _known(
        {
            "gen_ai.operation.name": operation(record),
            "gen_ai.provider.name": provider_name(provider),
            "gen_ai.request.model": record.model,
            "gen_ai.request.stream": True if record.streamed else None,
            "gen_ai.conversation.id": record.conversation,
            "gen_ai.response.time_to_first_chunk": record.first_byte_s if record.streamed else None,
            "gen_ai.usage.input_tokens": record.prompt_tokens,
            "gen_ai.usage.output_tokens": record.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": record.cached_tokens,
            "gen_ai.usage.cache_write.input_tokens": record.written_tokens,
            "gen_ai.usage.cache_creation.input_tokens": record.written_tokens,
            "gen_ai.usage.reasoning.output_tokens": record.reasoning_tokens,
            "http.response.status_code": record.status or None,
            "url.path": record.path,
            "error.type": _request_error(record),
            "limpet.record.id": record.id,
            "limpet.gateway": record.gateway,
            "limpet.decision": record.reason,
            "limpet.decision.enforce": record.enforce_reason,
            "limpet.decision.enforce_provider": record.enforce_provider,
            "limpet.provider": record.provider,
            "limpet.attempts": len(record.attempts),
            "limpet.api": record.api,
            "limpet.policy": record.policy,
            "limpet.tenant": record.tenant,
            "limpet.client": record.client,
            "limpet.identified_by": record.identified_by,
            "limpet.first_byte_s": record.first_byte_s,
            "limpet.cache.cause": record.cause,
            "limpet.cache.expected_tokens": record.expected_tokens,
            "limpet.cost.paid_usd": record.paid_usd,
            "limpet.cost.uncached_usd": record.uncached_usd,
            "limpet.cost.spread_usd": record.spread_usd,
            "limpet.cost.cheapest_usd": record.cheapest_usd,
            "limpet.cost.observed_usd": record.observed_usd,
        }
    )


def attempt_attributes(attempt: TriedProvider, number: int) -> SpanAttributes:
    """Of the span of an attempt, `number` counted from 0. It says nothing of generative AI: else tools count twice."""
    failed = attempt.outcome != "ok"
    return _known(
        {
            "limpet.provider": attempt.provider,
            "limpet.attempt.outcome": attempt.outcome,
            "http.request.resend_count": number or None,
            "http.response.status_code": attempt.status or None,
            "error.type": (attempt.cause or str(attempt.status or attempt.outcome)) if failed else None,
        }
    )


def _request_error(record: ActivityRecord) -> str | None:
    if 0 < record.status < _BAD_REQUEST:
        return None
    last = record.attempts[-1] if record.attempts else None
    if last is not None and last.outcome != "ok":
        return last.cause or str(record.status or last.outcome)
    return str(record.status or "client_left")


def _known(values: Mapping[str, AttributeValue | None]) -> SpanAttributes:
    return {name: _fitting(value) for name, value in values.items() if value is not None and value != ""}


def _fitting(value: AttributeValue) -> AttributeValue:
    """As OTLP can carry it: a number that does not fit is the largest."""
    if isinstance(value, bool) or not isinstance(value, int):
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)
    return max(-_LARGEST_INT, min(_LARGEST_INT, value))
