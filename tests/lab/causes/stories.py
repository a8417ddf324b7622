"""Conversations in which a turn reads nothing, or not all, for a cause that the story has made.

Each turn comes with what it should be called, and what it was.
"""

from collections.abc import AsyncIterator, Callable
from random import Random
from typing import Any

from tests.lab.causes.cause_world import CauseWorld, Vendor
from tests.lab.causes.random_story import at_random
from tests.lab.causes.stories_of_doubt import DOUBTFUL
from tests.lab.causes.talk import CHAT_VENDORS, Talk, Turn, home, pair, words

Story = Callable[[Random], AsyncIterator[Turn]]


async def steady(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(rng.randint(3, 20)):
        yield turn


async def pause(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin():
        yield turn
    talk.world.pass_s(home(talk.world).ttl_s * rng.uniform(1.05, 4))
    if home(talk.world).rules.cache.ttl_seconds is None:
        home(talk.world).cache.clear()  # what has no lifetime is dropped by and by
    yield "ttl_expired", await talk.ask()
    yield "hit", await talk.ask()


async def outage(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin():
        yield turn
    was = home(talk.world)
    was.fails = rng.choice((429, 500, 503))
    yield "provider_switched", await talk.ask()
    yield "hit", await talk.ask()


async def removal(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin():
        yield turn
    talk.world.serve(*(name for name in talk.world.vendors if name != home(talk.world).name))
    yield "provider_switched", await talk.ask()
    yield "hit", await talk.ask()


async def observed(rng: Random) -> AsyncIterator[Turn]:
    """Nothing stays: the turns of one conversation are spread over both providers."""
    world = CauseWorld(*pair(rng).vendors.values(), mode="Observe")
    talk, last = Talk(world, rng), None
    for number in range(8):
        cause = await talk.ask(400)
        stayed = home(world) is last
        yield "cold_start" if not number else "hit" if stayed else "provider_switched", cause
        last = home(world)


async def all_failed(rng: Random) -> AsyncIterator[Turn]:
    """Nobody served a turn, and the client tries again while another provider is well."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin():
        yield turn
    was = home(talk.world)
    for vendor in talk.world.vendors.values():
        vendor.fails = 500
    body = talk.say()
    await talk.world.ask(body, x_session_id=talk.session)
    for vendor in talk.world.vendors.values():
        vendor.fails = 500 * (vendor is was)
    yield "provider_switched", await talk.send(body)
    yield "hit", await talk.ask()


async def dearer(rng: Random) -> AsyncIterator[Turn]:
    """The provider where a conversation is warm asks for fifty times as much from now on."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(5):
        yield turn
    home(talk.world).usd *= 50
    talk.world.pass_s(90)
    talk.world.serve(*talk.world.vendors)
    yield "provider_switched", await talk.ask()
    yield "hit", await talk.ask()


async def edited_message(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(rng.randint(3, 8)):
        yield turn
    yield "hit", await talk.ask(500)  # else what comes after the change may be less than a vendor's block
    at = rng.randrange(len(talk.messages) - 3)
    talk.messages[at] = {**talk.messages[at], "content": words(rng, 700)}
    yield f"prefix_changed(message {at + 1})", await talk.ask()
    yield "hit", await talk.ask()


async def edited_long_ago(rng: Random) -> AsyncIterator[Turn]:
    """Of so many messages not all ends are known, and the place is one at or behind the change."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(40):
        yield turn
    at = rng.randrange(60)
    talk.messages[at] = {**talk.messages[at], "content": words(rng, 700)}
    yield "prefix_changed", await talk.ask()
    yield "hit", await talk.ask()


async def sliding_window(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(rng.randint(4, 8)):
        yield turn
    for _ in range(3):
        del talk.messages[:2]
        yield "prefix_changed(message 1)", await talk.ask(600)


async def changed_system(rng: Random) -> AsyncIterator[Turn]:
    """A clock: at its beginning, or at its end, where most of it stays the same."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(rng.randint(4, 8)):
        yield turn
    clock = f"It is {rng.random()}."
    talk.system = rng.choice((clock + talk.system, talk.system + clock))
    yield "prefix_changed(system)", await talk.ask()
    yield "hit", await talk.ask()


async def other_tools(rng: Random) -> AsyncIterator[Turn]:
    def tool(name: str) -> dict[str, Any]:
        return {"type": "function", "function": {"name": name, "description": words(rng, 300)}}

    talk = Talk(pair(rng), rng, tools=[tool("a"), tool("b"), tool("c")])
    async for turn in talk.begin():
        yield turn
    rng.choice((talk.tools.reverse, talk.tools.pop, lambda: talk.tools.insert(0, tool("d"))))()
    yield "prefix_changed(tools)", await talk.ask()
    yield "hit", await talk.ask()


async def other_model(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin():
        yield turn
    talk.model = "pro"
    yield "model_changed", await talk.ask()
    yield "hit", await talk.ask()


async def short_prompt(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(pair(rng, "OpenAI", "OpenAIClassic"), rng, system=words(rng, 100))
    for _ in range(2):
        yield "below_minimum", await talk.ask(rng.randint(20, 60))
    yield "cold_start", await talk.ask(3_000)
    yield "hit", await talk.ask()


async def parallel_first(rng: Random) -> AsyncIterator[Turn]:
    """The first requests of one conversation, all at once."""
    async for turn in at_once(rng, session=f"{rng.random()}"):
        yield turn


async def parallel_heads(rng: Random) -> AsyncIterator[Turn]:
    """The first requests of several conversations that begin with the same system prompt, all at once."""
    async for turn in at_once(rng):
        yield turn


async def at_once(rng: Random, session: str = "") -> AsyncIterator[Turn]:
    world = pair(rng)
    system = words(rng, rng.randint(1_500, 5_000))
    talks = [Talk(world, rng, system, session=session) for _ in range(rng.randint(2, 5))]
    flights = [(talk, await world.begin(talk.say(100), x_session_id=talk.session)) for talk in talks]
    for number, (_, flight) in enumerate(flights):
        yield "parallel_first" if number else "cold_start", await world.end(flight)


async def shared_head(rng: Random) -> AsyncIterator[Turn]:
    world = pair(rng)
    system = words(rng, rng.randint(2_000, 6_000))
    for number in range(4):
        yield "hit" if number else "cold_start", await Talk(world, rng, system).ask(rng.randint(20, 200))


async def unmarked(rng: Random) -> AsyncIterator[Turn]:
    talk = Talk(CauseWorld(Vendor("p0", "Anthropic", rng.uniform(2.3, 4.5))), rng)
    for _ in range(rng.randint(1, 3)):
        talk.say()
        body = {"model": "flash", "max_tokens": 400, "system": talk.system, "messages": talk.messages}
        flight = await talk.world.begin(body, "AnthropicMessages", x_session_id=talk.session)
        yield "no_breakpoint", await talk.world.end(flight)
        talk.messages.append({"role": "assistant", "content": words(rng, 100)})


async def marked(rng: Random) -> AsyncIterator[Turn]:
    """An agent's: the last message has the breakpoint, which moves on with each turn; or the system prompt alone."""
    talk = Talk(CauseWorld(Vendor("p0", "Anthropic", rng.uniform(2.3, 4.5))), rng)
    mark = {"cache_control": {"type": "ephemeral"}}
    moves, turns = rng.random() < 0.7, rng.randint(3, 6)
    for number in range(turns + 1):
        if number == turns:
            talk.world.pass_s(400.0)
        text = talk.say()["messages"][-1]["content"]
        system = [{"type": "text", "text": talk.system, **({} if moves else mark)}]
        last = {"role": "user", "content": [{"type": "text", "text": text, **(mark if moves else {})}]}
        messages = [*talk.messages[:-1], last]
        body = {"model": "flash", "max_tokens": 400, "system": system, "messages": messages}
        flight = await talk.world.begin(body, "AnthropicMessages", x_session_id=talk.session)
        cause = await talk.world.end(flight)
        yield "cold_start" if not number else "ttl_expired" if number == turns else "hit", cause
        talk.messages.append({"role": "assistant", "content": words(rng, 100)})
        talk.world.pass_s(rng.uniform(1, 60))


async def marked_and_edited(rng: Random) -> AsyncIterator[Turn]:
    """An agent edits a message of its past, of which the vendor keeps nothing but the breakpoints of earlier turns."""
    talk = Talk(CauseWorld(Vendor("p0", "Anthropic", rng.uniform(2.3, 4.5))), rng)
    for number in range(6):
        text = talk.say(300)["messages"][-1]["content"]
        if number == 5:
            talk.messages[4] = {"role": "user", "content": words(rng, 300)}
        block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        messages = [*talk.messages[:-1], {"role": "user", "content": [block]}]
        body = {"model": "flash", "max_tokens": 400, "system": talk.system, "messages": messages}
        flight = await talk.world.begin(body, "AnthropicMessages", x_session_id=talk.session)
        truth = "cold_start" if not number else "hit" if number < 5 else "prefix_changed(message 5)"
        yield truth, await talk.world.end(flight)
        talk.messages.append({"role": "assistant", "content": words(rng, 300)})


async def many_tools(rng: Random) -> AsyncIterator[Turn]:
    """More of an agent's steps than the vendor looks back to the breakpoint of the last turn: nothing is read."""
    talk = Talk(CauseWorld(Vendor("p0", "Anthropic", rng.uniform(2.3, 4.5))), rng)
    for number in range(2):
        text = talk.say(300)["messages"][-1]["content"]
        block = {"type": "text", "text": text, "cache_control": {"type": "ephemeral"}}
        messages = [*talk.messages[:-1], {"role": "user", "content": [block]}]
        body = {"model": "flash", "max_tokens": 400, "system": talk.system, "messages": messages}
        flight = await talk.world.begin(body, "AnthropicMessages", x_session_id=talk.session)
        yield "unknown" if number else "cold_start", await talk.world.end(flight)
        for _ in range(13):
            talk.messages.append({"role": "assistant", "content": words(rng, 50)})
            talk.say(50)
        talk.messages.append({"role": "assistant", "content": words(rng, 50)})


async def dropped(rng: Random) -> AsyncIterator[Turn]:
    """The vendor has lost all of it."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin():
        yield turn
    home(talk.world).cache.clear()
    yield "provider_side", await talk.ask()
    yield "hit", await talk.ask()


async def dropped_end(rng: Random) -> AsyncIterator[Turn]:
    """The vendor has lost the end of it."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(rng.randint(3, 8)):
        yield turn
    await talk.world.lose(home(talk.world), talk.body(), rng.uniform(0.6, 0.8))  # enough to be read at all
    yield "partial", await talk.ask()
    yield "hit", await talk.ask()


async def silent(rng: Random) -> AsyncIterator[Turn]:
    world = pair(rng)
    for vendor in world.vendors.values():
        vendor.reports = False
    talk = Talk(world, rng)
    for _ in range(3):
        yield "unreported", await talk.ask()


async def restart_after_loss(rng: Random) -> AsyncIterator[Turn]:
    """Limpet remembers nothing, and the vendor has lost it: nobody can know."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin():
        yield turn
    for vendor in talk.world.vendors.values():
        vendor.cache.clear()
    talk.world.start()
    yield "unknown", await talk.ask()


async def restart(rng: Random) -> AsyncIterator[Turn]:
    """Limpet remembers nothing, and the provider that it comes to has it all."""
    talk = Talk(CauseWorld(Vendor("p0", rng.choice(CHAT_VENDORS), rng.uniform(2.3, 4.5))), rng)
    async for turn in talk.begin(rng.randint(4, 8)):
        yield turn
    talk.world.start()
    yield "hit", await talk.ask()


async def two_at_once(rng: Random) -> AsyncIterator[Turn]:
    """The last messages change, and the vendor has lost all: the change alone would have left most of it."""
    talk = Talk(pair(rng), rng, system=words(rng, 8_000))
    async for turn in talk.begin(rng.randint(3, 6)):
        yield turn
    home(talk.world).cache.clear()
    talk.messages[-1] = {**talk.messages[-1], "content": "Never mind."}
    talk.messages[-2] = {**talk.messages[-2], "content": words(rng, 500)}
    yield "unknown", await talk.ask()


async def other_settings(rng: Random) -> AsyncIterator[Turn]:
    """The vendor reads nothing after another `tool_choice`, or has another cache for another key; or has lost it."""
    talk = Talk(pair(rng, "OpenAI", "OpenAI"), rng, settings={"prompt_cache_key": "one", "tool_choice": "auto"})
    async for turn in talk.begin():
        yield turn
    if rng.random() < 0.5:
        talk.settings["prompt_cache_key"] = "two"
    else:
        talk.settings["tool_choice"] = "none"
        home(talk.world).cache.clear()
    yield "unknown", await talk.ask()
    yield "hit", await talk.ask()


async def never_recognised(rng: Random) -> AsyncIterator[Turn]:
    """No session, and a clock that opens the system prompt: each turn looks like a conversation that went on before."""
    world = pair(rng)
    talk = Talk(world, rng)
    for number in range(4):
        talk.say()
        talk.system = f"{rng.random()} {talk.system}"
        yield "unknown" if number else "cold_start", await world.ask(talk.body())
        talk.messages.append({"role": "assistant", "content": words(rng, 200)})


STORIES: tuple[Story, ...] = (
    steady,
    pause,
    outage,
    removal,
    observed,
    all_failed,
    dearer,
    edited_message,
    edited_long_ago,
    sliding_window,
    changed_system,
    other_tools,
    other_model,
    short_prompt,
    parallel_first,
    parallel_heads,
    shared_head,
    unmarked,
    marked,
    marked_and_edited,
    many_tools,
    dropped,
    dropped_end,
    silent,
    restart_after_loss,
    restart,
    two_at_once,
    other_settings,
    never_recognised,
    at_random,
    *DOUBTFUL,
)


async def told(story: Story, seed: int) -> list[Turn]:
    """All turns of a story."""
    return [turn async for turn in story(Random(seed))]
