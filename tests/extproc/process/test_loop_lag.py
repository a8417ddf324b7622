"""What is told of an event loop: how late it wakes those who sleep."""

from collections.abc import Iterator

import pytest

from limpet_extproc.process.loop_lag import watch_loop


class _EnoughError(Exception):
    """Ends what never returns."""


async def test_it_tells_how_late_each_sleep_ended() -> None:
    now_s = 100.0
    later_s: Iterator[float] = iter([0.0, 1.0, -0.001, 0.02])
    seen: list[float] = []

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        more_s = next(later_s, None)
        if more_s is None:
            raise _EnoughError
        now_s += seconds + more_s

    with pytest.raises(_EnoughError):
        await watch_loop(seen.append, lambda: now_s, sleep)
    assert seen == pytest.approx([0.0, 1.0, 0.0, 0.02])
