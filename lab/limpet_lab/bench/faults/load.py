"""Steady load: the conversations take their turns at a fixed pace, through both gateways, with the official SDK."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

import openai
from openai import AsyncOpenAI

from limpet_lab.bench.faults.objects import MODEL
from limpet_lab.bench.faults.talks import Talk

_PATIENCE_S: Final = 30.0
"""No client waits longer, so that what hangs is an error."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request, and what the client saw of it. Times are seconds since the load began."""

    began_s: float
    ended_s: float
    first_byte_s: float
    """From its beginning to the first byte of an answer; not for errors."""
    conversation: int
    turn: int
    """The first is 1; one that failed is asked again under the same number."""
    gateway: int
    streams: bool
    provider: str = ""
    """Who answered, or was tried last."""
    decision: str = ""
    attempts: int = 0
    prompt: int = 0
    cached: int = 0
    status: int = 200
    """Of the answer; 0: there was none, or it broke off."""
    error: str = ""
    """What the SDK raised; empty: nothing."""
    in_dialect: bool = False
    """Whether an error came as the error object of the client's API."""


@dataclass(slots=True)
class SteadyLoad:
    """So many conversations, each with a turn every `turn_s`. `run` it in a task and read `exchanges` at any time."""

    clients: Sequence[AsyncOpenAI]
    talks: Sequence[Talk]
    turn_s: float
    random: Random
    began: float = field(default_factory=time.monotonic)
    exchanges: list[Exchange] = field(default_factory=list)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def now_s(self) -> float:
        """Seconds since the load began."""
        return time.monotonic() - self.began

    async def run(self) -> None:
        """Ask until `stop`, and return when everything that was asked has been answered."""
        places = list(range(len(self.talks)))
        self.random.shuffle(places)
        async with asyncio.TaskGroup() as group:
            for place, number in enumerate(places):
                group.create_task(self._converse(self.talks[number], place * self.turn_s / len(places)))

    def stop(self) -> None:
        """Ask nothing more."""
        self._stopped.set()

    async def _converse(self, talk: Talk, begins_s: float) -> None:
        asked, next_s = 0, begins_s
        while not await self._stopped_by(next_s):
            self.exchanges.append(await self._turn(talk, (talk.number + asked) % len(self.clients)))
            asked += 1
            next_s += self.turn_s
            if next_s < self.now_s:  # An answer that took long delays the conversation, as it would its user.
                next_s += -(-(self.now_s - next_s) // self.turn_s) * self.turn_s

    async def _stopped_by(self, moment_s: float) -> bool:
        try:
            async with asyncio.timeout(max(0.0, moment_s - self.now_s)):
                await self._stopped.wait()
        except TimeoutError:
            return False
        return True

    async def _turn(self, talk: Talk, gateway: int) -> Exchange:
        began_s = self.now_s
        known: dict[str, Any] = {
            "began_s": began_s,
            "conversation": talk.number,
            "turn": talk.turns + 1,
            "gateway": gateway,
            "streams": talk.streams,
        }
        try:
            headers, text, usage, first_byte_s = await _asked(self.clients[gateway], talk)
        except openai.APIStatusError as error:
            in_dialect = isinstance(error.body, dict) and "message" in error.body and "type" in error.body
            return Exchange(
                **known, **_of(error.response.headers), ended_s=self.now_s, first_byte_s=0.0,
                status=error.status_code, error=_words(error), in_dialect=in_dialect,
            )  # fmt: skip
        except Exception as error:  # whatever it is, an application would have seen it: a broken stream is no APIError
            return Exchange(**known, ended_s=self.now_s, first_byte_s=0.0, status=0, error=_words(error))
        talk.answered(text)
        details = usage and usage.prompt_tokens_details
        return Exchange(
            **known, **_of(headers), ended_s=self.now_s, first_byte_s=first_byte_s,
            prompt=usage.prompt_tokens if usage else 0, cached=(details and details.cached_tokens) or 0,
        )  # fmt: skip


def _of(headers: Any) -> dict[str, Any]:
    return {
        "provider": headers.get("x-limpet-provider", ""),
        "decision": headers.get("x-limpet-decision", ""),
        "attempts": int(headers.get("x-limpet-attempts", "1")),
    }


def _words(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"[:300]


async def _asked(client: AsyncOpenAI, talk: Talk) -> tuple[Any, str, Any, float]:
    """Headers, text, usage, and seconds until the first byte."""
    began = time.monotonic()
    ask = client.with_options(timeout=_PATIENCE_S, max_retries=0).chat.completions.with_raw_response.create
    if not talk.streams:
        raw = await ask(model=MODEL, messages=talk.question())
        answer = raw.parse()
        return raw.headers, answer.choices[0].message.content or "", answer.usage, time.monotonic() - began
    streamed = await ask(model=MODEL, messages=talk.question(), stream=True, stream_options={"include_usage": True})
    text, usage, first_byte_s = "", None, 0.0
    async for chunk in streamed.parse():
        first_byte_s = first_byte_s or time.monotonic() - began
        usage = chunk.usage or usage
        if chunk.choices:
            text += chunk.choices[0].delta.content or ""
    if usage is None:
        raise IncompleteStreamError("the stream ended without its last events")
    return streamed.headers, text, usage, first_byte_s


class IncompleteStreamError(Exception):
    """A stream ended as if it were whole."""
