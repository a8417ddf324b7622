"""What the outcome of a turn leaves in the memory besides where it is warm."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.extproc.envoy.log_world import KEY, NOW, RECORD, World, bad, entry, note

from limpet_extproc.memory import ConversationPace
from limpet_extproc.memory.heads import WarmHead

CHAIN = bytes(range(24))
HEADS = (b"shortest", b"longer !")
WITH_HEADS = replace(RECORD, heads=b"".join(HEADS), expected=True)


async def test_the_place_that_served_has_the_prompt_of_the_turn(world: World) -> None:
    await world.take(entry("a", record=replace(RECORD, chain=CHAIN)))
    (warm,) = await world.warm()
    assert (warm.chain, warm.prompt_tokens) == (CHAIN, 5000)


async def test_a_turn_that_was_served_is_learned_from(world: World) -> None:
    later = replace(RECORD, started_s=RECORD.started_s + 5)
    await world.take(entry("a"), entry("a", record=later, usage={"prompt": 6000.0, "cached": 5000.0, "output": 30.0}))
    remembered = await world.memory.lookup(KEY, NOW)
    assert remembered is not None
    assert remembered.pace == ConversationPace(2, later.started_s, 5.0, 6000, 1000.0, 20.0, 3840)
    assert remembered.cause is not None


async def test_without_usage_the_estimates_are_learned(world: World) -> None:
    await world.take(entry("a", record=replace(RECORD, output_tokens=400), usage=None))
    remembered = await world.memory.lookup(KEY, NOW)
    assert remembered is not None
    assert (remembered.pace.prompt_tokens, remembered.pace.output_tokens) == (1000, 400)
    assert remembered.cause == "unreported"


async def test_the_heads_of_a_turn_are_warm_where_it_was_served(world: World) -> None:
    await world.take(entry("a", record=WITH_HEADS))
    place = (WarmHead("a", RECORD.started_s + 300.0),)
    assert await world.heads.lookup(HEADS, NOW) == dict.fromkeys(HEADS, place)


async def test_heads_on_their_way_to_a_provider_that_fails_do_not_arrive(world: World) -> None:
    world.heads.expect(HEADS, "a", NOW)
    await world.take(bad("a", 500, "ServerError", record=WITH_HEADS))
    assert not await world.heads.lookup(HEADS, NOW)


_LEFT = ("downstream_connection_termination",)


@pytest.mark.parametrize(
    "ended",
    [
        bad("a", 400, "BadRequest", record=WITH_HEADS),
        entry("a", 0, record=WITH_HEADS, usage=None, answered=False, flags=_LEFT),
        entry("a", 200, record=WITH_HEADS, usage=None, flags=_LEFT),
        entry("", 400, record=WITH_HEADS, usage=None),
    ],
    ids=["refused", "left before an answer", "left in an answer", "answered by nobody"],
)
async def test_what_is_over_without_an_answer_that_counts_is_not_on_its_way(world: World, ended: Any) -> None:
    world.memory.expect(KEY, "a", NOW)
    world.heads.expect(HEADS, "a", NOW)
    await world.take(ended)
    assert await world.memory.lookup(KEY, NOW) is None
    assert not await world.heads.lookup(HEADS, NOW)


async def test_what_another_first_turn_brought_stays_when_one_is_refused(world: World) -> None:
    await world.take(entry("a", record=WITH_HEADS), bad("a", 400, "BadRequest", record=WITH_HEADS))
    assert [each.provider for each in await world.warm()] == ["a"]
    assert await world.heads.lookup(HEADS, NOW)


async def test_a_later_turn_that_fails_leaves_what_is_on_its_way(world: World) -> None:
    world.heads.expect(HEADS, "a", NOW)
    await world.take(bad("a", 500, "ServerError", record=replace(WITH_HEADS, expected=False)))
    assert await world.heads.lookup(HEADS, NOW)


async def test_heads_arrive_at_the_provider_that_was_tried_next(world: World) -> None:
    world.heads.expect(HEADS, "a", NOW)
    await world.take(entry("b", attempts=2, notes={1: note("a", 500, "ServerError")}, record=WITH_HEADS))
    place = (WarmHead("b", RECORD.started_s + 60.0),)
    assert await world.heads.lookup(HEADS, NOW) == dict.fromkeys(HEADS, place)


async def test_heads_are_warm_nowhere_where_staying_does_not_pay(world: World) -> None:
    await world.take(entry("c", record=WITH_HEADS))
    assert not await world.heads.lookup(HEADS, NOW)


async def test_heads_arrive_as_soon_as_an_answer_begins(world: World) -> None:
    world.heads.expect(HEADS, "a", NOW)
    await world.take(entry("a", record=WITH_HEADS, under_way=True))
    assert await world.heads.lookup(HEADS, NOW) == dict.fromkeys(HEADS, (WarmHead("a", RECORD.started_s + 300.0),))
    assert await world.warm() == ()
