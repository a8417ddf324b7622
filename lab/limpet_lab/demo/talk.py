"""Holds the conversations, with the official `openai` SDK as any application would."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from openai import AsyncOpenAI
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionMessageParam

from limpet_lab.demo.quickstart import MODEL
from limpet_lab.demo.script import Conversation

PAUSE_S: Final = 0.4
"""A person reads before asking again. The gateway has learnt from its access log by then, a tenth of a second late."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One question and its answer."""

    conversation: str
    number: int
    """The first is 1."""
    provider: str = ""
    """The provider in the response header."""
    decision: str = ""
    prompt: int = 0
    cached: int = 0
    error: str = ""
    """What the client saw instead of an answer."""
    attempts: int = 1
    """More than 1: the decision's first provider failed, and Envoy went on to the next."""

    @property
    def hit(self) -> bool:
        """Whether any of the prompt came from a cache."""
        return self.cached > 0


@dataclass(slots=True)
class Dialogue:
    """A conversation up to now."""

    script: Conversation
    messages: list[ChatCompletionMessageParam] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.messages.append({"role": "system", "content": self.script.system})

    async def next_turn(self, client: AsyncOpenAI) -> Turn:
        """Ask the next question; an error becomes part of the turn, for the demo to report."""
        number = len(self.turns) + 1
        self.messages.append({"role": "user", "content": self.script.questions[number - 1]})
        ask = _streamed if self.script.streams else _plain
        try:
            headers, text, usage = await ask(client, self.messages)
        except Exception as error:  # whatever it is, an application would have seen it: a broken stream is no APIError
            turn = Turn(self.script.name, number, error=f"{type(error).__name__}: {error}")
        else:
            self.messages.append({"role": "assistant", "content": text})
            turn = Turn(
                self.script.name,
                number,
                headers.get("x-limpet-provider", ""),
                headers.get("x-limpet-decision", ""),
                usage.prompt_tokens if usage else 0,
                (usage.prompt_tokens_details.cached_tokens or 0) if usage and usage.prompt_tokens_details else 0,
                attempts=int(headers.get("x-limpet-attempts", "1")),
            )
        self.turns.append(turn)
        return turn


async def next_turns(
    client: AsyncOpenAI, dialogues: list[Dialogue], on_turn: Callable[[Turn], None], pause_s: float = PAUSE_S
) -> None:
    """One turn of every dialogue, all at once, then the pause in which their users read."""

    async def one(dialogue: Dialogue) -> None:
        on_turn(await dialogue.next_turn(client))

    async with asyncio.TaskGroup() as group:
        for dialogue in dialogues:
            group.create_task(one(dialogue))
    await asyncio.sleep(pause_s)


_Answer = tuple[Any, str, CompletionUsage | None]
"""Headers, text, usage."""


async def _plain(client: AsyncOpenAI, messages: list[ChatCompletionMessageParam]) -> _Answer:
    raw = await client.chat.completions.with_raw_response.create(model=MODEL, messages=messages)
    answer = raw.parse()
    return raw.headers, answer.choices[0].message.content or "", answer.usage


async def _streamed(client: AsyncOpenAI, messages: list[ChatCompletionMessageParam]) -> _Answer:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL,
        messages=messages,
        stream=True,
        stream_options={"include_usage": True},
    )
    text, usage = "", None
    async for chunk in raw.parse():
        usage = chunk.usage or usage
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    return raw.headers, text, usage
