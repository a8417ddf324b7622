"""Which price holds: to the minute, by the clocks of the window's zone, also where these jump."""

from datetime import UTC, datetime, timedelta
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import Model
from limpet_extproc.contract.price_windows import price_at, window_at, zone_named
from limpet_extproc.contract.prices import Price, PriceNow, PriceRules, PriceTier, PriceWindow

USUAL, DEAR = Price(1.0, 4.0, 0.1, 1.0), Price(2.0, 8.0, 0.2, 2.0)
TIERS, DEAR_TIERS = (PriceTier(200_000, DEAR),), (PriceTier(200_000, Price(4.0, 16.0, 0.4, 4.0)),)
WORKDAYS, ALL_DAYS, SUNDAY = (0, 1, 2, 3, 4), (0, 1, 2, 3, 4, 5, 6), (6,)


def window(hours: str, zone: str = "UTC", days: tuple[int, ...] = ALL_DAYS, name: str = "peak") -> PriceWindow:
    start, end = (int(clock[:2]) * 60 + int(clock[3:]) for clock in hours.split("-"))
    return PriceWindow(name, zone, days, start, end, DEAR, DEAR_TIERS)


def unix(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def at(text: str, *windows: PriceWindow) -> tuple[str, str]:
    """The window that holds at this time (UTC), and the time at which that changes."""
    held, until_s = window_at(windows, unix(text))
    return (held.name if held else ""), datetime.fromtimestamp(until_s, UTC).strftime("%Y-%m-%d %H:%M:%S")


# DeepSeek's hours; 2026-11-20 is a Friday.
MORNING, NOON = window("01:00-04:00", days=WORKDAYS, name="morning"), window("06:00-10:00", days=WORKDAYS, name="noon")
BERLIN = (
    "Europe/Berlin"  # Its clocks jump from 02:00 to 03:00 on 2026-03-29 and back from 03:00 to 02:00 on 2026-10-25.
)


@pytest.mark.parametrize(
    ("now", "windows", "held"),
    [
        ("2026-11-20 00:59:59", (MORNING, NOON), ("", "2026-11-20 01:00:00")),
        ("2026-11-20 01:00:00", (MORNING, NOON), ("morning", "2026-11-20 04:00:00")),
        ("2026-11-20 03:59:59", (MORNING, NOON), ("morning", "2026-11-20 04:00:00")),
        ("2026-11-20 04:00:00", (MORNING, NOON), ("", "2026-11-20 06:00:00")),
        ("2026-11-20 10:00:00", (MORNING, NOON), ("", "2026-11-23 01:00:00")),
        # Over midnight: the day is that of the beginning.
        ("2026-11-20 23:00:00", (window("22:00-06:00", days=WORKDAYS),), ("peak", "2026-11-21 06:00:00")),
        ("2026-11-21 05:59:00", (window("22:00-06:00", days=WORKDAYS),), ("peak", "2026-11-21 06:00:00")),
        ("2026-11-23 05:59:00", (window("22:00-06:00", days=WORKDAYS),), ("", "2026-11-23 22:00:00")),
        ("2026-11-20 23:00:00", (window("22:00-00:00"),), ("peak", "2026-11-21 00:00:00")),
        # Of two that overlap, the first.
        ("2026-11-20 09:30:00", (window("09:00-11:00"), window("08:00-10:00")), ("peak", "2026-11-20 11:00:00")),
        ("2026-11-20 09:30:00", (window("08:00-10:00"), window("09:00-11:00")), ("peak", "2026-11-20 10:00:00")),
        # By the zone's clocks, whatever their offset.
        ("2026-01-15 07:59:00", (window("09:00-18:00", BERLIN),), ("", "2026-01-15 08:00:00")),
        ("2026-07-15 07:00:00", (window("09:00-18:00", BERLIN),), ("peak", "2026-07-15 16:00:00")),
        ("2026-07-15 03:29:00", (window("09:15-18:00", "Asia/Kathmandu"),), ("", "2026-07-15 03:30:00")),
        # Minutes that are skipped.
        ("2026-03-29 00:30:00", (window("02:30-04:00", BERLIN),), ("", "2026-03-29 01:00:00")),
        ("2026-03-29 01:00:00", (window("02:30-04:00", BERLIN),), ("peak", "2026-03-29 02:00:00")),
        ("2026-03-29 00:45:00", (window("01:30-02:30", BERLIN),), ("peak", "2026-03-29 01:00:00")),
        ("2026-03-28 12:00:00", (window("02:10-02:50", BERLIN, SUNDAY),), ("", "2026-04-05 00:10:00")),
        # Minutes that come twice.
        ("2026-10-25 00:00:00", (window("02:00-02:30", BERLIN),), ("peak", "2026-10-25 00:30:00")),
        ("2026-10-25 00:30:00", (window("02:00-02:30", BERLIN),), ("", "2026-10-25 01:00:00")),
        ("2026-10-25 01:00:00", (window("02:00-02:30", BERLIN),), ("peak", "2026-10-25 01:30:00")),
        ("2026-10-25 00:30:00", (window("01:00-02:45", BERLIN),), ("peak", "2026-10-25 00:45:00")),
        ("2026-10-24 23:30:00", (window("01:00-04:00", BERLIN),), ("peak", "2026-10-25 03:00:00")),
        # Clocks that are set back over midnight: Havana, from 01:00 to 00:00, Saturday night.
        ("2026-11-01 04:30:00", (window("23:30-00:30", "America/Havana"),), ("", "2026-11-01 05:00:00")),
    ],
)  # fmt: skip
def test_to_the_minute(now: str, windows: tuple[PriceWindow, ...], held: tuple[str, str]) -> None:
    assert at(now, *windows) == held


ZONES = [
    "UTC",
    BERLIN,
    "America/New_York",
    "Australia/Lord_Howe",
    "America/Havana",
    "Asia/Kathmandu",
    "Africa/Casablanca",
]
MINUTES = st.integers(0, 1439)
WINDOWS = st.lists(
    st.builds(
        PriceWindow, st.sampled_from("abc"), st.sampled_from(ZONES),
        st.sets(st.integers(0, 6), min_size=1).map(lambda days: tuple(sorted(days))), MINUTES, MINUTES, st.just(USUAL),
    ),
    min_size=1,
    max_size=3,
)  # fmt: skip


@given(WINDOWS, st.integers(int(unix("2026-01-01")) // 60, int(unix("2027-12-31")) // 60))
def test_nothing_changes_before_the_time_given_and_something_then(windows: list[PriceWindow], now_min: int) -> None:
    held, until_s = window_at(windows, now_min * 60)
    for at_min in range(now_min, min(int(until_s) // 60, now_min + 1500)):
        assert _shown(windows, at_min * 60) is held
    if until_s < now_min * 60 + 14 * 86_400:
        assert until_s % 60 == 0
        assert _shown(windows, until_s) is not held


def _shown(windows: list[PriceWindow], at_s: float) -> PriceWindow | None:
    """The first window in which each zone's clock stands, minute by minute from where it began."""
    for each in windows:
        zone = zone_named(each.zone)
        assert zone is not None
        clock = datetime.fromtimestamp(at_s, zone)
        length = (each.to_minute - each.from_minute - 1) % 1440 + 1
        for began in (clock.date(), clock.date() - timedelta(days=1)):
            since = (clock.date() - began).days * 1440 + clock.hour * 60 + clock.minute - each.from_minute
            if began.weekday() in each.days and 0 <= since < length:
                return each
    return None


def test_a_model_has_its_usual_price_or_that_of_the_window() -> None:
    rules = PriceRules(TIERS, (window("09:00-18:00"),))
    model = Model("flash", "flash", price=USUAL, price_rules=rules)
    assert price_at(model, unix("2026-11-20 08:00")) == PriceNow(USUAL, TIERS, "", unix("2026-11-20 09:00"))
    assert price_at(model, unix("2026-11-20 09:00")) == PriceNow(DEAR, DEAR_TIERS, "peak", unix("2026-11-20 18:00"))


def test_where_nothing_changes_it_says_when_to_ask_again() -> None:
    always = window("00:00-00:00")
    for now in ("2026-11-20 00:00", "2026-11-20 08:00", "2026-11-20 23:59"):
        assert window_at([always], unix(now)) == (always, unix("2026-12-05 00:00"))


def test_without_windows_a_price_holds_for_ever() -> None:
    assert price_at(Model("flash", "flash", price=USUAL, price_rules=PriceRules(TIERS)), 0.5) == PriceNow(USUAL, TIERS)
    assert PriceNow(USUAL).until_s == inf


def test_an_unknown_price_stays_unknown() -> None:
    assert price_at(Model("flash", "flash", price_rules=PriceRules(windows=(window("09:00-18:00"),))), 0.0) is None


@pytest.mark.parametrize(
    "name",
    ["localtime", "Factory", "posixrules", "Mars/Olympus", "America", "", "../etc/passwd", "Europe/Berlin ", "/UTC"],
)
def test_a_window_of_an_unknown_zone_never_holds(name: str) -> None:
    assert zone_named(name) is None
    assert window_at([window("00:00-23:59", name)], 1e9) == (None, inf)
    held, _ = window_at([window("00:00-23:59", name, name="mars"), window("00:00-23:59")], 1e9)
    assert held is not None
    assert held.name == "peak"
