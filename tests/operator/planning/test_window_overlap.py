"""Which windows overlap, and which never hold."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.price_windows import window_at
from limpet_operator.planning.window_overlap import covered, overlapping
from limpet_operator.resources.model_prices import WindowSpec

ALL_DAYS, WORKDAYS = (0, 1, 2, 3, 4, 5, 6), (0, 1, 2, 3, 4)


def window(hours: str, name: str, zone: str = "UTC", days: tuple[int, ...] = ALL_DAYS, models: str = "") -> WindowSpec:
    start, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in hours.split("-"))
    return WindowSpec(name, zone, days, start, end, frozenset(models.split()) or None)


@pytest.mark.parametrize(
    ("windows", "pairs", "never"),
    [
        ([], [], []),
        ([window("09:00-12:00", "a"), window("12:00-13:00", "b")], [], []),
        ([window("09:00-12:01", "a"), window("12:00-13:00", "b")], [("a", "b")], []),
        ([window("22:00-06:00", "a"), window("05:00-07:00", "b")], [("a", "b")], []),
        # Over the end of the week.
        ([window("22:00-06:00", "a", days=(6,)), window("05:00-07:00", "b", days=(0,))], [("a", "b")], []),
        ([window("22:00-06:00", "a", days=(5,)), window("05:00-07:00", "b", days=(0,))], [], []),
        ([window("00:00-18:00", "a"), window("09:00-10:00", "b", days=WORKDAYS)], [("a", "b")], ["b"]),
        ([window("09:00-10:00", "a", days=WORKDAYS), window("00:00-18:00", "b")], [("a", "b")], []),
        # Together two others cover it.
        (
            [window("00:00-12:00", "a"), window("12:00-00:00", "b"), window("06:00-18:00", "c")],
            [("a", "c"), ("b", "c")],
            ["c"],
        ),
        # Of different zones: 09:00 in Shanghai is 01:00 in UTC.
        ([window("09:00-12:00", "a", "Asia/Shanghai"), window("01:00-04:00", "b")], [("a", "b")], ["b"]),
        ([window("09:00-12:00", "a", "Asia/Shanghai"), window("04:00-09:00", "b")], [], []),
        # 09:00 in Berlin is 08:00 in winter and 07:00 in summer.
        ([window("09:00-10:00", "a", "Europe/Berlin"), window("07:00-08:00", "b")], [("a", "b")], []),
        # Different models.
        ([window("09:00-10:00", "a", models="x"), window("09:00-10:00", "b", models="y z")], [], []),
        ([window("09:00-10:00", "a", models="x"), window("09:00-10:00", "b", models="x y")], [("a", "b")], []),
        ([window("09:00-10:00", "a", models="x y"), window("09:00-10:00", "b", models="x")], [("a", "b")], ["b"]),
        ([window("09:00-10:00", "a", models="x y"), window("09:00-10:00", "b")], [("a", "b")], []),
        # One that is left out covers nothing.
        ([window("09:00-10:00", "a", "Mars/Olympus"), window("09:00-10:00", "b")], [], []),
    ],
)
def test_windows_that_overlap(windows: list[WindowSpec], pairs: list[tuple[str, str]], never: list[str]) -> None:
    assert overlapping(windows) == pairs
    assert covered(windows) == never


MONDAY_MIN = int(datetime(2026, 1, 12, tzinfo=UTC).timestamp()) // 60
MINUTES = st.integers(0, 1439)
SPECS = st.builds(
    WindowSpec,
    st.just(""),
    st.sampled_from(["UTC", "Asia/Kathmandu", "America/Phoenix"]),
    st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))),
    MINUTES,
    MINUTES,
    st.none(),
)


@given(SPECS, SPECS, st.integers(0, 7 * 1440 - 1))
def test_what_holds_is_never_called_covered_or_alone(one: WindowSpec, other: WindowSpec, minute: int) -> None:
    now_s = (MONDAY_MIN + minute) * 60
    alone = [window_at([each], now_s)[0] is not None for each in (one, other)]
    if all(alone):
        assert overlapping([one, other])
    if alone == [False, True]:
        assert not covered([one, other])
