"""A provider that fails every second request must neither drag conversations back and forth nor cost their caches."""

import pytest

from limpet_lab.bench.faults.flaky import AlwaysTheSame, OneWorker, load, run


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_a_provider_that_fails_every_second_request_moves_each_conversation_twice_at_most(seed: int) -> None:
    turns = load(seed)
    ours, fixed = await run(OneWorker(), turns), await run(AlwaysTheSame(), turns)
    assert ours.client_errors == 0
    assert ours.most_switches <= 2
    assert ours.cached_share > fixed.cached_share
    assert ours.extra_attempts < fixed.extra_attempts / 4


async def test_after_an_outage_conversations_go_back_once_it_is_over_and_stay() -> None:
    """The provider costs a third of the others, so some win by going back; none does so before it is well."""
    ours = await run(OneWorker(), load(1), lambda _number, at_s: 100 < at_s < 130)
    assert ours.client_errors == 0
    assert ours.returns > 10
    assert ours.most_switches == 2
    assert ours.extra_attempts < 10
