"""When a bar is held, and what it says when it is missed."""

from dataclasses import replace
from math import inf

import pytest
from tests.lab.faults.exchanges import broken, exchange, outcome, seen

from limpet_lab.bench.faults import bars
from limpet_lab.bench.faults.bars import FaultBar
from limpet_lab.bench.faults.figures import figures_of
from limpet_lab.bench.faults.load import Exchange


@pytest.mark.parametrize(
    ("bar", "good", "bad"),
    [
        (bars.NO_ERRORS, [exchange(11)], [broken(11)]),
        (bars.ONE_EXTRA, [exchange(11, attempts=2)], [exchange(11, attempts=2), exchange(15, attempts=2)]),
        (
            bars.TOLD_SOON,
            [exchange(10 + n / 5, n, "gamma", attempts=2) for n in range(10)],
            [exchange(10 + n / 5, n, "gamma", attempts=2) for n in range(12)],
        ),
        (
            bars.MOVED_SOON,
            [exchange(10, 1, attempts=2), exchange(11, 2, "gamma")],
            [exchange(10, 1, attempts=2), exchange(10.9, 2, "gamma"), exchange(11.4, 3, "gamma")],
        ),
        (bars.ONLY_THE_BROKEN, [broken(11, 1), broken(11, 2)], [broken(11, 1), broken(12, 1)]),
        (bars.ONLY_THE_BROKEN, [broken(9.95)], [broken(11, status=503)]),
        (
            bars.NEXT_TURN_ELSEWHERE,
            [broken(11), exchange(12, provider="beta"), exchange(13, provider="gamma")],
            [broken(11), exchange(12, provider="gamma")],
        ),
        (
            bars.IN_DIALECT,
            [broken(11, status=503, in_dialect=True)],
            [broken(11, status=503, in_dialect=False)],
        ),
        (bars.IN_DIALECT, [], [broken(11, status=502, in_dialect=True)]),
        (bars.SERVED_AFTER_RETURN, [broken(20.5), exchange(21.5)], [broken(20.5), exchange(22.5)]),
        (
            bars.STICKY_IN_A_TURN,
            [exchange(11 + n, n // 2, decision="first.scored") for n in range(3)],
            [exchange(11 + n, n // 2, decision="first.scored") for n in range(4)],
        ),
        (bars.NOTHING_EXPIRES, [exchange(11, decision="first.scored")], [exchange(11, decision="sticky.expired")]),
        (bars.NOTHING_EXPIRES, [], [exchange(11 + n, n // 2, decision="first.warm_head") for n in range(4)]),
        (bars.STAYS, [exchange(5), exchange(15)], [exchange(5), exchange(15, provider="alpha")]),
        (
            bars.UNDECIDED_THERE,
            [exchange(14, decision="fallback.undecided")],
            [exchange(16, decision="fallback.undecided")],
        ),
        (bars.UNDECIDED_THERE, [], [exchange(11, decision="fallback.undecided", gateway=1)]),
        (bars.ALL_DECIDED, [exchange(11)], [exchange(5, decision="fallback.undecided")]),
    ],
)
def test_a_bar_tells_good_from_bad(bar: FaultBar, good: list[Exchange], bad: list[Exchange]) -> None:
    assert seen(bar, *good) is None
    assert seen(bar, *bad)


def test_a_fault_that_nobody_met_holds_no_bar_about_moving() -> None:
    assert seen(bars.MOVED_SOON, exchange(11)) == seen(bars.TOLD_SOON, exchange(11)) == "nobody met the fault"


@pytest.mark.parametrize(
    ("p99_ms", "said"),
    [((0.4, 10.4), None), ((0.4, 10.5), "10.1 ms"), ((0.4, inf), "inf ms"), ((None, 0.4), "not measured")],
)
def test_decisions_may_take_ten_milliseconds_longer(
    p99_ms: tuple[float | None, float | None], said: str | None
) -> None:
    without = outcome()
    figures = figures_of([], without.timeline, None, decision_p99_ms=p99_ms)
    assert bars.LITTLE_LATER.missed(replace(without, figures=figures)) == said


def test_what_never_came_is_missed() -> None:
    assert seen(bars.CHANGE_ARRIVES, arrived_s=2.0) is None
    assert seen(bars.CHANGE_ARRIVES, arrived_s=inf) == "inf s"
    assert bars.CONDITION_SAYS.missed(outcome()) == "inf s"
