"""What stories are told with: a client's side of a conversation, between two providers."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.lab.causes.cause_world import CauseWorld, Vendor

CHAT_VENDORS = ("OpenAI", "OpenAIClassic", "DeepSeek", "Moonshot", "XAI", "MiniMax", "Fireworks", "VLLM")

Turn = tuple[str, str]
"""What it should be called, and what it was."""


def words(rng: Random, tokens: int) -> str:
    """Text of about so many tokens, of letters that no other text has."""
    return "".join(rng.choices("abcdefghijklmnopqrstuvwxyz     ", k=tokens * 3))


@dataclass
class Talk:
    """A client's side of one conversation."""

    world: CauseWorld
    rng: Random
    system: str = ""
    model: str = "flash"
    tools: list[Any] = field(default_factory=list)
    session: str = ""
    messages: list[dict[str, Any]] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.system = self.system or words(self.rng, self.rng.randint(1_500, 6_000))
        self.session = self.session or f"{self.rng.random()}"

    def body(self) -> dict[str, Any]:
        opening = [{"role": "system", "content": self.system}] if self.system else []
        body: dict[str, Any] = {"model": self.model, "messages": opening + self.messages, **self.settings}
        return {**body, "tools": self.tools} if self.tools else body

    def say(self, tokens: int = 0) -> dict[str, Any]:
        """One more message of the user; the request with it."""
        text = words(self.rng, tokens or self.rng.randint(20, 900))
        self.messages.append({"role": "user", "content": text})
        return self.body()

    async def ask(self, tokens: int = 0) -> str:
        """A turn, and the answer to it."""
        return await self.send(self.say(tokens))

    async def send(self, body: dict[str, Any]) -> str:
        flight = await self.world.begin(body, x_session_id=self.session)
        answer = words(self.rng, self.rng.randint(20, 600))
        cause = await self.world.end(flight, answer)
        self.messages.append({"role": "assistant", "content": answer})
        self.world.pass_s(self.rng.uniform(1, 60))
        return cause

    async def begin(self, turns: int = 0) -> AsyncIterator[Turn]:
        """Turns in which all goes well."""
        for number in range(turns or self.rng.randint(2, 6)):
            yield "hit" if number else "cold_start", await self.ask()


def pair(rng: Random, *vendors: str) -> CauseWorld:
    """A world of two providers."""
    chosen = vendors or rng.choices(CHAT_VENDORS, k=2)
    return CauseWorld(*(Vendor(f"p{at}", each, rng.uniform(2.3, 4.5)) for at, each in enumerate(chosen)))


def home(world: CauseWorld) -> Vendor:
    """Who answered last."""
    return world.vendors[world.summaries[-1].attempts[-1].provider]
