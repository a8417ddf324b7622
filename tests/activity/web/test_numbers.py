from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_activity.web import numbers
from limpet_activity.web.charts import (
    ChartLine,
    columns,
    lines,
    nice_top,
    spans,
    stacked_bar,
    stacked_columns,
    turn_block,
)
from limpet_activity.web.colours import COLOURS, colours


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (numbers.count(None), "–"),
        (numbers.count(12345), "12,345"),
        (numbers.count(1_234_567), "1.23 M"),
        (numbers.short(999.4), "999"),
        (numbers.short(999_700), "1.00 M"),
        (numbers.short(85_800_000), "85.8 M"),
        (numbers.usd(None), "–"),
        (numbers.usd(0), "$0"),
        (numbers.usd(12.344), "$12.34"),
        (numbers.usd(0.5), "$0.50"),
        (numbers.usd(0.02), "$0.020"),
        (numbers.usd(0.00214), "$0.0021"),
        (numbers.usd(-0.5), "−$0.50"),
        (numbers.usd(123_456), "$123 k"),
        (numbers.usd(float("nan")), "–"),
        (numbers.price(0.028), "$0.028"),
        (numbers.price(1.5), "$1.50"),
        (numbers.price(3), "$3.00"),
        (numbers.share(1, 0), "–"),
        (numbers.share(1, 3), "33 %"),
        (numbers.share(1, 1000), "<1 %"),
        (numbers.share(999, 1000), "99 %"),
        (numbers.share(-1, 2), "−50 %"),
        (numbers.seconds(0.42), "420 ms"),
        (numbers.seconds(3.21), "3.2 s"),
        (numbers.seconds(42), "42 s"),
        (numbers.seconds(250), "4 min 10 s"),
        (numbers.seconds(7200), "2 h"),
        (numbers.seconds(90_000), "1 d 1 h"),
        (numbers.size(512), "512 B"),
        (numbers.size(12_300_000), "12.3 MB"),
        (numbers.iso(1_796_000_000.25), "2026-11-30T00:53:20.250Z"),
        (numbers.date_and_time(1_796_000_000), "30 Nov 2026, 00:53:20"),
        (numbers.clock(1_796_000_000, 1_796_000_100), "00:53:20"),
        (numbers.clock(1_796_000_000, 1_796_100_000), "30 Nov 00:53"),
        (numbers.ago(100, 350), "4 min 10 s ago"),
        (numbers.ago(350, 100), "in 4 min 10 s"),
        (numbers.ago(100, 100.5), "now"),
    ],
)
def test_numbers(shown: str, text: str) -> None:
    assert shown == text


@pytest.mark.parametrize(
    "draw",
    [
        numbers.count,
        numbers.short,
        numbers.usd,
        numbers.price,
        numbers.seconds,
        numbers.size,
        numbers.iso,
        numbers.date_and_time,
        lambda number: numbers.clock(number, 0),
        lambda number: numbers.tick(number, 60),
        lambda number: numbers.ago(number, 0),
        lambda number: numbers.share(number, 3),
        lambda number: numbers.share(3, number),
        lambda number: str(nice_top(number)),
        lambda number: lines([ChartLine("a", "b", [number, None, 1.0], filled=True)], ["1", "2", "3"]).svg,
        lambda number: columns([number, 1.0], [number, 0.0], ["1", "2"]).svg,
        lambda number: lines([ChartLine("a", "b", [number, -1.0, 1.0])], ["1", "2", "3"]).svg,
        lambda number: stacked_columns([("a", [number, 1.0]), ("b", [2.0, number])], ["1", "2"]).svg,
        lambda number: stacked_bar([("a", number), ("b", 1.0)], number),
        lambda number: spans([("a", number, 5.0, "1"), ("b", 2.0, number, "2")], 0.0, 10.0),
        lambda number: turn_block(number, "c1", failed=True),
    ],
)
def test_absurd_numbers_are_drawn_somehow(draw: Callable[[float], str]) -> None:
    @given(st.floats())
    def draws(number: float) -> None:
        drawn = draw(number)
        assert "nan" not in drawn
        assert "inf" not in drawn

    draws()


def test_a_chart_ends_with_a_round_number() -> None:
    assert [nice_top(most) for most in (0, 0.7, 1, 1.2, 23, 900)] == [1, 0.8, 1, 1.5, 30, 1000]


def test_layers_stand_one_above_the_other() -> None:
    drawn = stacked_columns([("a", [1.0, 2.0]), ("b", [3.0, 0.0])], ["1", "2"])
    assert drawn.top == 4
    assert '<path class="column a" d="M0.12 75.00h.76V100.00h-.76zM1.12 50.00h.76V100.00h-.76z"/>' in drawn.svg
    assert '<path class="column b" d="M0.12 0.00h.76V75.00h-.76z"/>' in drawn.svg


def test_what_is_below_zero_is_drawn_below_it() -> None:
    drawn = lines([ChartLine("a", "b", [3.0, -1.0])], ["1", "2"])
    assert (drawn.top, drawn.bottom) == (3, -1)
    assert 'points="0.50,0.00 1.50,100.00"' in drawn.svg
    assert 'y1="75.0" y2="75.0"' in drawn.svg, "a line at zero"
    assert lines([ChartLine("a", "b", [3.0])], ["1"]).bottom == 0


def test_text_in_a_chart_is_escaped() -> None:
    assert "<b>" not in lines([ChartLine("a", '"><b>', [1.0])], ["<b>"]).svg
    assert "<b>" not in spans([('"><b>', 0.0, 1.0, '"><b>')], 0.0, 1.0)
    assert "<b>" not in stacked_columns([('"><b>', [1.0])], ["<b>"]).svg
    assert "<b>" not in turn_block(0.5, '"><b>', failed=False)


def test_a_provider_keeps_its_colour() -> None:
    names = [f"provider-{number}" for number in range(5)]
    assert colours(names) == colours(reversed(names))
    assert len(set(colours(names).values())) == 5
    assert colours(names, ["gone"]).items() >= colours(names).items()


@given(st.lists(st.text(max_size=5), max_size=30))
def test_any_number_of_names_has_colours(names: list[str]) -> None:
    chosen = colours(names)
    assert set(chosen) == set(names) - {""}
    assert len(set(chosen.values())) == min(COLOURS, len(chosen))
