"""A long conversation to which anything may happen."""

from collections.abc import AsyncIterator
from random import Random

from tests.lab.causes.talk import Talk, Turn, home, pair, words


async def at_random(rng: Random) -> AsyncIterator[Turn]:
    """A long conversation to which any of these may happen, and two at once."""
    talk = Talk(pair(rng), rng)
    async for turn in talk.begin(2):
        yield turn
    for _ in range(25):
        was, changed = home(talk.world), ""
        happens = set(rng.choices(("", "", "", "pause", "outage", "loss", "edit", "clock"), k=2)) - {""}
        if "pause" in happens:
            talk.world.pass_s(was.ttl_s * rng.uniform(1.05, 2))
        if "pause" in happens or "loss" in happens:
            was.cache.clear()
        if "edit" in happens:
            at = rng.randrange(len(talk.messages) - 3)
            talk.messages[at] = {**talk.messages[at], "content": words(rng, 700)}
            changed = f"prefix_changed(message {at + 1})" if len(talk.messages) < 60 else "prefix_changed"
        if "clock" in happens:
            talk.system = f"{rng.random()}" + talk.system[20:]
            changed = "prefix_changed(system)"
        was.fails = 503 if "outage" in happens else 0
        named = await talk.ask(rng.randint(300, 900))
        was.fails = 0
        right = right_for(happens, changed, moved=home(talk.world) is not was)
        yield named if named in right or named.partition("(")[0] in right else " or ".join(right), named


def right_for(happens: set[str], changed: str, *, moved: bool) -> list[str]:
    """What such a turn may be called: where two things have happened, one that explains all, or nothing."""
    if "pause" in happens:
        # Where it comes to may have it from earlier, and may have lost that.
        return ["ttl_expired", "unknown"] if moved else ["ttl_expired"]
    if moved:
        return [changed, "provider_switched"] if changed else ["provider_switched"]
    if changed:
        return [changed, "unknown"] if "loss" in happens else [changed]
    return ["provider_side"] if "loss" in happens else ["hit"]
