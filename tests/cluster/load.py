"""Steady traffic by the official SDK, and its outcome: who answered, what was lost, which conversations moved."""

import asyncio
import contextlib
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

import openai
from openai import AsyncOpenAI
from tests.cluster.services import Routes, client_of

PATIENCE_S: Final = 30.0
"""No client waits longer for one answer."""

TIDE: Final = "The tide comes twice a day, and the limpet is home before it. " * 60
"""Long enough for every prompt cache here."""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request and its answer."""

    conversation: str
    number: int
    """1 for the first turn."""
    begun: float
    ended: float
    """Both in seconds of the monotonic clock."""
    provider: str
    decision: str
    trouble: str = ""
    """Why there was no whole answer; empty if there was one."""


@dataclass(slots=True)
class Tally:
    """All turns of a load, in the order in which they ended."""

    turns: list[Turn] = field(default_factory=list)

    @property
    def lost(self) -> list[Turn]:
        """Requests without a whole answer."""
        return [turn for turn in self.turns if turn.trouble]

    def moved(self) -> list[tuple[Turn, Turn]]:
        """Turns that another provider answered than the one before, each with the one before."""
        last: dict[str, Turn] = {}
        found = []
        for turn in self.turns:
            if turn.trouble:
                continue
            before = last.get(turn.conversation)
            if before is not None and before.provider != turn.provider:
                found.append((before, turn))
            last[turn.conversation] = turn
        return found

    def later(self) -> list[Turn]:
        """Answered turns that were not the first of their conversation."""
        return [turn for turn in self.turns if turn.number > 1 and not turn.trouble]

    def providers(self) -> Counter[str]:
        """How many requests each answered."""
        return Counter(turn.provider for turn in self.turns if not turn.trouble)

    def __str__(self) -> str:
        decisions = Counter(turn.decision for turn in self.turns if not turn.trouble)
        lines = [f"{len(self.turns)} requests by {dict(self.providers())}: {dict(decisions)}"]
        start = self.turns[0].begun if self.turns else 0.0
        lines += [
            f"  lost after {turn.begun - start:.1f} s, waited {turn.ended - turn.begun:.1f} s: {turn.trouble}"
            for turn in self.lost
        ]
        lines += [
            f"  moved after {to.begun - start:.1f} s from {was.provider} to {to.provider}: {to.decision}"
            for was, to in self.moved()
        ]
        return "\n".join(lines)


class User:
    """One program with the SDK: its own connection pool, as the SDK makes it, and so many tries a request."""

    def __init__(self, routes: Routes, host: str, name: str, tries: int = 1) -> None:
        self.name = name
        self.sdk = AsyncOpenAI(
            base_url=f"http://{host}/v1",
            api_key=f"key-of-{name}",
            max_retries=tries - 1,
            timeout=PATIENCE_S,
            http_client=client_of(routes, PATIENCE_S),
        )
        self._conversations = itertools.count(1)

    def conversation(self, model: str) -> "Conversation":
        """A new one."""
        return Conversation(self, model, f"{self.name}-{next(self._conversations)}")


class Conversation:
    """Grows by one question and one answer each turn."""

    def __init__(self, user: User, model: str, name: str) -> None:
        self.user = user
        self.name = name
        self._model = model
        self._messages: list[Any] = [{"role": "system", "content": f"{TIDE} This is for {name}."}]
        self.turns = 0

    async def ask(self, *, stream: bool = False, by: User | None = None) -> Turn:
        """The next turn, by its own user's connections or by another's with the same key; a bad answer is no error."""
        sdk = (by or self.user).sdk.with_options(api_key=self.user.sdk.api_key)
        self.turns += 1
        asked = [*self._messages, {"role": "user", "content": f"Question {self.turns}: where is home?"}]
        begun = time.monotonic()
        text, provider, decision, trouble = "", "", "", ""
        more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        try:
            got = await sdk.chat.completions.with_raw_response.create(
                **{"model": self._model, "messages": asked, **more}
            )
            provider = got.headers.get("x-limpet-provider", "")
            decision = got.headers.get("x-limpet-decision", "")
            answer: Any = got.parse()
            if stream:
                text, trouble = await _put_together(answer)
            else:
                text = answer.choices[0].message.content
        except openai.APIStatusError as error:
            trouble = (
                f"status {error.status_code} {error.response.headers.get('x-limpet-decision')}: {error.message[:200]}"
            )
        except (openai.APIError, OSError) as error:
            trouble = f"{type(error).__name__}: {error} <- {error.__cause__!r}"
        if not trouble:
            self._messages = [*asked, {"role": "assistant", "content": text}]
        return Turn(self.name, self.turns, begun, time.monotonic(), provider, decision, trouble)


async def _put_together(answer: Any) -> tuple[str, str]:
    text, finish, usage = "", None, None
    async for chunk in answer:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    return text, "" if finish and usage else "the stream ended early"


class Load:
    """So many users, each asking about once a second, conversation after conversation of a few turns."""

    def __init__(self, users: Sequence[User], model: str, turns: int) -> None:
        self.tally = Tally()
        self._users = users
        self._model = model
        self._turns = turns
        self._ending = asyncio.Event()

    @classmethod
    @asynccontextmanager
    async def on(
        cls, routes: Routes, host: str, model: str, *, users: int = 20, turns: int = 4, tries: int = 1
    ) -> AsyncIterator[Self]:
        """Until the end of the block, and then until the last answer is there."""
        load = cls([User(routes, host, f"user-{number}", tries) for number in range(users)], model, turns)
        tasks = [asyncio.create_task(load._use(user, number / users)) for number, user in enumerate(load._users)]
        try:
            yield load
        finally:
            load._ending.set()
            await asyncio.gather(*tasks)
            await asyncio.gather(*(user.sdk.close() for user in load._users))

    async def more(self, requests: int) -> None:
        """Return when so many more have been answered or lost."""
        until = len(self.tally.turns) + requests
        while len(self.tally.turns) < until:  # noqa: ASYNC110 - twenty tasks write to it
            await asyncio.sleep(0.05)

    async def _use(self, user: User, phase: float) -> None:
        await self._pause(phase)
        for number in itertools.count():
            conversation = user.conversation(self._model)
            for turn in range(self._turns):
                begun = time.monotonic()
                self.tally.turns.append(await conversation.ask(stream=(number + turn) % 2 == 1))
                await self._pause(begun + 1.0 - time.monotonic())
                if self._ending.is_set():
                    return

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._ending.wait(), max(0.0, seconds))
