"""Why nothing was read from a cache, as the client hears it with the next turn, and as the metrics count it."""

from typing import Any

import pytest
from tests.envoy.cast import LONG, TIDE, say
from tests.envoy.stage import Raw, Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

SHOWN = {"showHeaders": ["Cache"]}


class Talking:
    """A conversation with a session of its own."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.messages: list[Any] = [say(LONG, "system")]

    async def ask(self, text: str = TIDE * 20) -> str | None:
        """One more turn; why the one before read what it read."""
        self.messages.append(say(text))
        answer = await self.send()
        self.messages.append(say(answer.json["choices"][0]["message"]["content"], "assistant"))
        return answer.headers.get("x-limpet-cache")

    async def send(self) -> Raw:
        body = {"model": self.stage.model, "messages": self.messages}
        answer = await self.stage.post(body, headers={"x-session-id": "of the tide"})
        await self.stage.settle()
        assert answer.status == 200
        return answer

    async def counted(self, cause: str) -> float:
        return await self.stage.metric("limpet_cache_causes_total", model=self.stage.model, cause=cause)


async def test_each_turn_says_why_the_one_before_read_what_it_read(stage: Stage) -> None:
    await stage.serve("a", policy=SHOWN)
    talk = Talking(stage)
    assert [await talk.ask() for _ in range(3)] == [None, "cold_start", "hit"]
    talk.messages[1] = say(TIDE * 30)
    assert [await talk.ask() for _ in range(2)] == ["hit", "prefix_changed(message 1)"]
    talk.messages[0] = say("It is noon. " + LONG, "system")
    assert [await talk.ask() for _ in range(2)] == ["hit", "prefix_changed(system)"]
    await stage.sellers["a"].reset(cache=True)
    assert [await talk.ask() for _ in range(2)] == ["hit", "provider_side"]
    assert [await talk.counted(each) for each in ("cold_start", "prefix_changed", "provider_side")] == [1, 2, 1]


async def test_another_provider_has_nothing_of_the_conversation(stage: Stage) -> None:
    await stage.serve("a", "b", policy=SHOWN)
    talk = Talking(stage)
    await talk.ask()
    home = stage.seller_of((await talk.send()).headers["x-limpet-provider"])
    await stage.serve("b" if home == "a" else "a", policy=SHOWN)
    assert [await talk.ask() for _ in range(2)] == ["hit", "provider_switched(sticky.left.not_candidate)"]


async def test_no_response_says_so_unasked(stage: Stage) -> None:
    await stage.serve("a")
    talk = Talking(stage)
    assert [await talk.ask() for _ in range(3)] == [None] * 3
    assert await talk.counted("hit") == 2


async def test_no_client_and_no_vendor_can_set_it(stage: Stage) -> None:
    await stage.serve("a", policy=SHOWN)
    body = {"model": stage.model, "messages": [say(LONG)]}
    answer = await stage.post(body, headers={"x-limpet-cache": "hit"})
    assert "x-limpet-cache" not in answer.headers
    (arrival,) = await stage.arrivals("a")
    assert not [name for name, _ in arrival.headers if name.lower().startswith("x-limpet-")]
