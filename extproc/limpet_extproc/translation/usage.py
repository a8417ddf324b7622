"""Anthropic's usage, which counts what was read from the cache and written to it apart, in OpenAI's inclusive form."""

from typing import Any, Final

import msgspec


class CacheCreation(msgspec.Struct, frozen=True, gc=False):
    """By lifetime."""

    ephemeral_5m_input_tokens: int | None = None
    ephemeral_1h_input_tokens: int | None = None


class OutputDetails(msgspec.Struct, frozen=True, gc=False):
    """Of the output."""

    thinking_tokens: int | None = None


class MessagesUsage(msgspec.Struct, frozen=True, gc=False):
    """`usage` of a message; a stream's events each carry what they know."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    cache_creation: CacheCreation | None = None
    output_tokens_details: OutputDetails | None = None
    service_tier: str | None = None


NO_USAGE: Final = MessagesUsage()
_TIERS: Final = {"standard": "default", "priority": "priority"}


def merged(first: MessagesUsage, later: MessagesUsage) -> MessagesUsage:
    """What is known after a later event: its counts are of the whole message."""
    known = {name: value for name, value in msgspec.structs.asdict(later).items() if value is not None}
    return msgspec.structs.replace(first, **known)


def chat_usage(usage: MessagesUsage) -> dict[str, Any] | None:
    """OpenAI's `usage`; None if the prompt's tokens were not reported. What was not reported is absent, not zero."""
    if usage.input_tokens is None:
        return None
    read, written = usage.cache_read_input_tokens, usage.cache_creation_input_tokens
    prompt = usage.input_tokens + (read or 0) + (written or 0)
    output = usage.output_tokens or 0
    details: dict[str, Any] = {}
    if read is not None:
        details["cached_tokens"] = read
    if written is not None:
        details["cache_write_tokens"] = written
    if usage.cache_creation is not None:
        details["cache_creation"] = usage.cache_creation
    found: dict[str, Any] = {
        "prompt_tokens": prompt,
        "completion_tokens": output,
        "total_tokens": prompt + output,
    }
    if details:
        found["prompt_tokens_details"] = details
    if usage.output_tokens_details is not None and usage.output_tokens_details.thinking_tokens is not None:
        found["completion_tokens_details"] = {"reasoning_tokens": usage.output_tokens_details.thinking_tokens}
    return found


def chat_tier(usage: MessagesUsage) -> str | None:
    """OpenAI's `service_tier`."""
    return _TIERS.get(usage.service_tier or "")
