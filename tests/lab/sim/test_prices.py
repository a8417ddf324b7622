"""What a seller charges follows its clock, the prompt's length and the service tier."""

from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.price_windows import window_at
from limpet_extproc.contract.prices import Price, PriceWindow
from limpet_lab.sim.ledger import price
from limpet_lab.sim.prices import PricedHours, PriceList
from limpet_lab.sim.wire import Usage

_BASE = {"input": "1", "output": "4", "cacheRead": "0.1", "cacheWrite": "1.25", "cacheWrite1h": "2"}
_OWN = {"input": "3", "output": "5"}


def _prices(**more: Any) -> PriceList:
    return msgspec.convert({**_BASE, **more}, PriceList)


def _hours(window: dict[str, Any]) -> PricedHours:
    return msgspec.convert({**window, "factor": "2"}, PricedHours)


def _at(text: str, zone: str = "UTC", fold: int = 0) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()


_WORKDAYS = {"name": "peak", "from": "09:00", "to": "18:00", "days": ["Mon", "Tue", "Wed", "Thu", "Fri"]}
_NIGHT = {"name": "night", "from": "22:00", "to": "06:00", "days": ["Fri"]}


@pytest.mark.parametrize(
    ("window", "at", "holds"),
    [
        (_WORKDAYS, "2026-11-30T08:59:59", False),  # a Monday
        (_WORKDAYS, "2026-11-30T09:00:00", True),
        (_WORKDAYS, "2026-11-30T17:59:59", True),
        (_WORKDAYS, "2026-11-30T18:00:00", False),
        (_WORKDAYS, "2026-11-29T12:00:00", False),
        (_NIGHT, "2026-11-27T21:59:59", False),  # a Friday
        (_NIGHT, "2026-11-27T22:00:00", True),
        (_NIGHT, "2026-11-28T05:59:59", True),
        (_NIGHT, "2026-11-28T06:00:00", False),
        (_NIGHT, "2026-11-28T22:00:00", False),
        (_NIGHT, "2026-11-27T05:00:00", False),
        ({**_WORKDAYS, "timeZone": "Asia/Shanghai"}, "2026-11-30T01:00:00", True),
        ({**_WORKDAYS, "timeZone": "Asia/Shanghai"}, "2026-11-30T10:00:00", False),
    ],
)
def test_hours_hold_by_the_clocks_of_their_zone(window: dict[str, Any], at: str, holds: bool) -> None:
    assert _hours(window).hold(_at(at)) is holds


def test_an_hour_that_the_clocks_show_twice_counts_twice_and_a_skipped_one_not() -> None:
    window = _hours({"name": "w", "from": "02:00", "to": "03:00", "timeZone": "Europe/Berlin"})
    twice = [_at("2026-10-25T02:30:00", "Europe/Berlin", fold) for fold in (0, 1)]
    assert twice[1] - twice[0] == 3600
    assert [window.hold(at) for at in twice] == [True, True]
    before = _at("2026-03-29T01:59:00", "Europe/Berlin")
    assert [window.hold(before + 60 * minutes) for minutes in (0, 1, 2, 61)] == [False] * 4


@pytest.mark.parametrize(
    ("more", "prompt", "tier", "charged"),
    [
        ({}, 10, None, ("1", "4", "0.1", "1.25", "2")),
        ({"longContext": [{"aboveTokens": 100, "factor": "2"}]}, 100, None, ("1", "4", "0.1", "1.25", "2")),
        ({"longContext": [{"aboveTokens": 100, "factor": "2"}]}, 101, None, ("2", "8", "0.2", "2.50", "4")),
        (
            {
                "longContext": [
                    {"aboveTokens": 200, "perMillionTokens": _OWN},
                    {"aboveTokens": 100, "factor": "2"},
                ]
            },
            500,
            None,
            ("3", "5", None, None, None),
        ),
        ({"serviceTiers": {"flex": "0.5"}}, 10, "flex", ("0.5", "2", "0.05", "0.625", "1")),
        ({"serviceTiers": {"flex": "0.5"}}, 10, "auto", ("1", "4", "0.1", "1.25", "2")),
        ({"windows": [{**_WORKDAYS, "factor": "2"}]}, 10, None, ("2", "8", "0.2", "2.50", "4")),
        ({"windows": [{**_NIGHT, "factor": "2"}]}, 10, None, ("1", "4", "0.1", "1.25", "2")),
        (
            {"windows": [{**_WORKDAYS, "factor": "2"}], "longContext": [{"aboveTokens": 5, "perMillionTokens": _OWN}]},
            10,
            None,
            ("6", "10", None, None, None),
        ),
        (
            {
                "windows": [{**_WORKDAYS, "perMillionTokens": _OWN}, {**_WORKDAYS, "factor": "9"}],
                "longContext": [{"aboveTokens": 5, "factor": "2"}],
                "serviceTiers": {"priority": "2"},
            },
            10,
            "priority",
            ("12", "20", None, None, None),
        ),
        (
            {
                "windows": [{**_WORKDAYS, "perMillionTokens": _OWN, "longContext": []}],
                "longContext": [{"aboveTokens": 5, "factor": "2"}],
            },
            10,
            None,
            ("3", "5", None, None, None),
        ),
        (
            {
                "windows": [
                    {
                        **_WORKDAYS,
                        "perMillionTokens": _OWN,
                        "longContext": [{"aboveTokens": 5, "factor": "2"}],
                    }
                ]
            },
            10,
            None,
            ("6", "10", None, None, None),
        ),
    ],
)
def test_what_a_token_costs_on_a_monday_at_noon(
    more: dict[str, Any], prompt: int, tier: str | None, charged: tuple[str | None, ...]
) -> None:
    rates = _prices(**more).charged(prompt, _at("2026-11-30T12:00:00"), tier)
    assert (rates.input, rates.output, rates.cache_read, rates.cache_write, rates.cache_write_1h) == tuple(
        None if each is None else Decimal(each) for each in charged
    )


def test_a_tier_prices_cached_and_written_tokens_too() -> None:
    prices = _prices(longContext=[{"aboveTokens": 1000, "factor": "2"}])
    usage = Usage(prompt=2000, cached=1000, written=500, output=10, written_long=100)
    short, long = (price(usage, prices.charged(length, 0.0)) for length in (1000, 2000))
    assert short == Decimal("0.00134")
    assert long == 2 * short


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"windows": [{**_WORKDAYS, "to": "09:00", "factor": "2"}]}, "from and to must differ"),
        ({"windows": [{**_WORKDAYS, "from": "25:00", "factor": "2"}]}, "hour must be in"),
        ({"windows": [{**_WORKDAYS, "timeZone": "Mars/Base", "factor": "2"}]}, "timeZone 'Mars/Base' is not known"),
        ({"windows": [{**_WORKDAYS, "days": ["Sunday"], "factor": "2"}]}, "'Sunday' is none of Mon"),
        ({"windows": [_WORKDAYS]}, "write either factor or perMillionTokens"),
        ({"longContext": [{"aboveTokens": 1, "factor": "2", "perMillionTokens": _OWN}]}, "write either factor"),
        ({"longContext": [{"aboveTokens": 1, "factor": "-1"}]}, "factor must not be negative"),
        ({"input": "cheap"}, "Invalid decimal"),
    ],
)
def test_a_list_that_no_seller_could_charge_is_refused(more: dict[str, Any], problem: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=problem):
        _prices(**more)


@given(
    zone=st.sampled_from(["UTC", "Asia/Shanghai", "Europe/Berlin", "America/Santiago", "Australia/Lord_Howe"]),
    days=st.sets(st.integers(0, 6), min_size=1),
    minutes=st.tuples(st.integers(0, 1439), st.integers(0, 1439)).filter(lambda pair: pair[0] != pair[1]),
    at=st.integers(1_790_000_000, 1_840_000_000),
)
def test_a_sellers_clock_and_limpets_agree(zone: str, days: set[int], minutes: tuple[int, int], at: int) -> None:
    names = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
    start, end = (f"{minute // 60:02}:{minute % 60:02}" for minute in minutes)
    sellers = _hours(
        {"name": "w", "from": start, "to": end, "timeZone": zone, "days": [names[day] for day in sorted(days)]}
    )
    ours = PriceWindow("w", zone, tuple(sorted(days)), *minutes, Price(1, 1, 1, 1))
    assert sellers.hold(at) is (window_at([ours], at)[0] is not None)
