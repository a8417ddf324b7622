"""Conversations in which what comes to mind first is not why a turn read what it read, or not surely.

As `stories`, each turn comes with what it should be called, and what it was.
"""

import json
from collections.abc import AsyncIterator
from random import Random
from typing import Any

from tests.lab.causes.cause_world import CauseWorld, Vendor
from tests.lab.causes.talk import Talk, Turn, home, pair, words

_MARK = {"cache_control": {"type": "ephemeral"}}


async def back_after_a_while(rng: Random) -> AsyncIterator[Turn]:
    """Its own part has expired; the system prompt has not, as short conversations have used it all the while."""
    world = CauseWorld(Vendor("p0", rng.choice(("OpenAI", "OpenAIClassic", "DeepSeek")), 3.0))
    talk = Talk(world, rng, words(rng, 5_000))
    async for turn in talk.begin(4):
        yield turn
    ttl_s, begun_s = home(world).ttl_s, world.clock.now_s
    seen = rng.random() < 0.7
    while world.clock.now_s < begun_s + 1.3 * ttl_s:
        other = Talk(world, rng, talk.system)
        if seen:
            await other.ask(50)
        else:
            world.ask_past_limpet(world.vendors["p0"], other.say(50))
        world.pass_s(ttl_s / 8)
    if rng.random() < 0.5:
        talk.messages[2] = {**talk.messages[2], "content": words(rng, 700)}
    yield "ttl_expired" if seen else "unknown", await talk.ask(300)


async def agent(talk: Talk, turns: int, steps: int, **last: Any) -> AsyncIterator[str]:
    """Marks the system prompt and the last message. `last`: what else the last of its turns asks for."""
    for number in range(turns):
        text = talk.say(900)["messages"][-1]["content"]
        body = {
            "model": "flash",
            "max_tokens": 400,
            "system": [{"type": "text", "text": talk.system, **_MARK}],
            "messages": [*talk.messages[:-1], {"role": "user", "content": [{"type": "text", "text": text, **_MARK}]}],
            **(last if number == turns - 1 else {}),
        }
        flight = await talk.world.begin(body, "AnthropicMessages", x_session_id=talk.session)
        yield await talk.world.end(flight)
        for _ in range(steps):
            talk.messages.append({"role": "assistant", "content": words(talk.rng, 50)})
            talk.say(50)
        talk.messages.append({"role": "assistant", "content": words(talk.rng, 50)})


async def many_steps(rng: Random) -> AsyncIterator[Turn]:
    """More than the vendor looks back to the breakpoint of the last turn: it reads that of the system prompt."""
    talk = Talk(CauseWorld(Vendor("p0", "Anthropic", rng.uniform(2.3, 4.5))), rng)
    truths = iter(("cold_start", "unknown"))
    async for cause in agent(talk, 2, 13):
        yield next(truths), cause


async def other_tool_choice(rng: Random) -> AsyncIterator[Turn]:
    """Of which the vendor's entries of messages depend, and that of the system prompt does not."""
    vendor = Vendor("p0", "Anthropic", rng.uniform(2.3, 4.5))
    talk = Talk(CauseWorld(vendor), rng)
    truths = iter(("cold_start", "hit", "hit"))
    async for cause in agent(talk, 3, 0):
        yield next(truths), cause
    vendor.cache.clear()
    async for _ in agent(Talk(talk.world, rng, talk.system), 1, 0):
        pass  # of what it had, the system prompt is left
    async for cause in agent(talk, 1, 0, tool_choice={"type": "any"}):
        yield "unknown", cause


async def written_otherwise(rng: Random) -> AsyncIterator[Turn]:
    """Another version of the client's library puts spaces into its JSON: for the vendor the prompt is the same."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(rng.randint(2, 5)):
        yield turn
    if rng.random() < 0.5:
        home(talk.world).fails = 503
    else:
        home(talk.world).cache.clear()
    talk.world.write = lambda body: json.dumps(body).encode()
    yield "unknown", await talk.ask()
    yield "hit", await talk.ask()


async def roles_last(rng: Random) -> AsyncIterator[Turn]:
    """A client that sorts the members of messages, and a clock in its system prompt."""
    talk = Talk(pair(rng), rng)
    talk.world.write = lambda body: json.dumps(body, sort_keys=True).encode()
    async for turn in talk.begin(rng.randint(2, 5)):
        yield turn
    talk.system = f"It is {rng.random()}. {talk.system}"
    yield "prefix_changed(system)", await talk.ask(500)
    at = rng.randrange(len(talk.messages) - 3)
    talk.messages[at] = {**talk.messages[at], "content": words(rng, 700)}
    yield f"prefix_changed(message {at + 1})", await talk.ask(500)


async def two_models_at_once(rng: Random) -> AsyncIterator[Turn]:
    """An arena: each turn is asked of two models, and for one the first was too short to be cached."""
    world = CauseWorld(Vendor("p0", "OpenAI", 3.0, least={"pro": 4_096}))
    talk = Talk(world, rng, words(rng, 1_500))
    body = talk.say(300)
    yield "cold_start", await world.ask(body, x_session_id=talk.session)
    talk.model = "pro"
    yield "below_minimum", await talk.send(talk.body())
    home(world).cache.clear()  # so it was not kept
    yield "cold_start", await talk.ask(4_000)
    yield "hit", await talk.ask()


async def believed_too_long(rng: Random) -> AsyncIterator[Turn]:
    """The policy has conversations stay longer than the vendor keeps them."""
    world = CauseWorld(*pair(rng, "OpenAI", "OpenAIClassic").vendors.values(), memory_ttl_s=7_200.0)
    talk = Talk(world, rng)
    async for turn in talk.begin(rng.randint(2, 5)):
        yield turn
    world.pass_s(home(world).ttl_s + 1_000)
    home(world).cache.clear()
    yield "unknown", await talk.ask()
    yield "hit", await talk.ask()


async def lost_where_it_was_before(rng: Random) -> AsyncIterator[Turn]:
    """Back where it was before the last turns, whose vendor has lost it in the meantime."""
    talk = Talk(pair(rng, "OpenAI", "OpenAI"), rng, words(rng, 5_000))
    async for turn in talk.begin(3):
        yield turn
    was = home(talk.world)
    was.fails = 503
    yield "provider_switched", await talk.ask()
    was.fails, home(talk.world).fails = 0, 503
    was.cache.clear()
    talk.world.pass_s(70)
    yield "unknown", await talk.ask()


DOUBTFUL = (
    back_after_a_while,
    many_steps,
    other_tool_choice,
    written_otherwise,
    roles_last,
    two_models_at_once,
    believed_too_long,
    lost_where_it_was_before,
)
