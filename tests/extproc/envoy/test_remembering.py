"""What the outcome of a turn leaves in the memory besides where it is warm."""

from base64 import b64encode

from msgspec.structs import replace
from tests.extproc.envoy.log_world import KEY, NOW, RECORD, World, entry

from limpet_extproc.memory import ConversationPace

CHAIN = bytes(range(24))


async def test_the_place_that_served_has_the_prompt_of_the_turn(world: World) -> None:
    await world.take(entry("a", record=replace(RECORD, chain=b64encode(CHAIN).decode())))
    (warm,) = await world.warm()
    assert (warm.chain, warm.prompt_tokens) == (CHAIN, 5000)


async def test_a_turn_that_was_served_is_learned_from(world: World) -> None:
    later = replace(RECORD, started_s=RECORD.started_s + 5)
    await world.take(entry("a"), entry("a", record=later, usage={"prompt": 6000.0, "cached": 5000.0, "output": 30.0}))
    remembered = await world.memory.lookup(KEY, NOW)
    assert remembered is not None
    assert remembered.pace == ConversationPace(2, later.started_s, 5.0, 6000, 1000.0, 20.0)
    assert remembered.cause is not None


async def test_without_usage_the_estimates_are_learned(world: World) -> None:
    await world.take(entry("a", record=replace(RECORD, output_tokens=400), usage=None))
    remembered = await world.memory.lookup(KEY, NOW)
    assert remembered is not None
    assert (remembered.pace.prompt_tokens, remembered.pace.output_tokens) == (1000, 400)
    assert remembered.cause == "unreported"
