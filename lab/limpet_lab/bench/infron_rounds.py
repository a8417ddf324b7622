"""Plays the rounds of the Infron test against a gateway, with the official `openai` SDK."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from openai import AsyncOpenAI

from limpet_lab.bench.infron_prompt import ChatMessages
from limpet_lab.bench.infron_score import AnsweredCall, Round

PAUSE_S: Final = 0.5
"""Between the two calls of a round: a gateway that learns from access logs knows the first one's outcome by then."""

AT_ONCE: Final = 8
"""Rounds under way at the same time; they share nothing, so this only saves time."""


UNDECIDED: Final = "fallback.undecided"
"""The gateway's word for a request that its rules never saw; always the same provider would look like perfect rules."""


class UndecidedError(Exception):
    """Nothing was measured: no worker decided."""


@dataclass(frozen=True, slots=True)
class Asking:
    """What every request of a run has in common."""

    model: str
    max_tokens: int | None = None
    named_sessions: bool = False
    """Send each conversation's name as `x-session-id`."""
    pause_s: float = PAUSE_S


async def play(
    client: AsyncOpenAI, asking: Asking, conversations: Sequence[str], messages: Callable[[str], ChatMessages]
) -> list[Round]:
    """One round a conversation, in their order. Raises openai.APIError when a request fails, or UndecidedError."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(conversation: str) -> Round:
        async with places:
            first = await _call(client, asking, conversation, messages(conversation))
            await asyncio.sleep(asking.pause_s)
            return Round(first, await _call(client, asking, conversation, messages(conversation)))

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(conversation)) for conversation in conversations]
    except ExceptionGroup as failed:
        raise failed.exceptions[0] from None
    return [task.result() for task in tasks]


async def _call(client: AsyncOpenAI, asking: Asking, conversation: str, messages: ChatMessages) -> AnsweredCall:
    more: dict[str, Any] = {}
    if asking.max_tokens is not None:
        more["max_tokens"] = asking.max_tokens
    if asking.named_sessions:
        more["extra_headers"] = {"x-session-id": conversation}
    create = client.chat.completions.with_raw_response.create
    raw = await create(model=asking.model, messages=messages, **more)  # type: ignore[arg-type]
    if raw.headers.get("x-limpet-decision") == UNDECIDED:
        raise UndecidedError("the gateway served a request without asking the rules that were to be measured")
    answer = raw.parse()
    return call_of(answer.id, answer.usage.model_dump() if answer.usage else None)


def call_of(answer_id: str, usage: Mapping[str, Any] | None) -> AnsweredCall:
    """The tokens of a usage object, in whichever field the vendor reports those read from its cache."""
    if usage is None:
        return AnsweredCall(answer_id, None, None, None)
    details = usage.get("prompt_tokens_details") or {}
    places = (
        details.get("cached_tokens"),
        usage.get("prompt_cache_hit_tokens"),
        usage.get("cached_tokens"),
        usage.get("num_cached_tokens"),
    )
    cached = next((value for value in places if value is not None), None)
    return AnsweredCall(answer_id, usage.get("prompt_tokens"), cached, usage.get("completion_tokens"))
