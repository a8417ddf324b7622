"""A first trigger is acted on at once, the burst behind it once: soon after its end, never long after its start."""

import asyncio

import pytest

from limpet_operator.pod.debounce import Debounce


class _Clock(asyncio.SelectorEventLoop):
    """A loop whose time only the test moves on."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def time(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("triggers", "acted"),
    [
        ([], []),
        ([0], [10]),
        ([0, 10, 20], [10, 50]),
        ([0, 40], [10, 70]),
        ([0, 50], [10, 60]),
        (list(range(0, 500, 20)), [10, 220, 420, 510]),  # never quiet: acted on every 200 ms
    ],
)
def test_when_it_acts(triggers: list[int], acted: list[int]) -> None:
    assert times_of_acts(triggers, takes_ms=0) == acted


def test_what_comes_while_it_acts_is_not_taken_for_the_first_after_a_silence() -> None:
    assert times_of_acts([0, 60], takes_ms=50) == [10, 90]


def times_of_acts(triggers: list[int], takes_ms: int) -> list[int]:
    loop = _Clock()
    times: list[int] = []

    def act() -> None:
        times.append(round(loop.now * 1000))
        loop.now += takes_ms / 1000

    async def play() -> None:
        debounce = Debounce(act, first_s=0.01, quiet_s=0.03, longest_s=0.2)
        for millisecond in range(0, 1000, 10):
            loop.now = max(loop.now, millisecond / 1000)
            for _ in range(3):
                await asyncio.sleep(0)
            if millisecond in triggers:
                debounce.trigger()
        debounce.trigger()
        debounce.close()
        loop.now = 10.0
        await asyncio.sleep(0)

    try:
        loop.run_until_complete(play())
    finally:
        loop.close()
    return times
