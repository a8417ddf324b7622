"""What `limpet up` says of price windows and of prices that become stale, as time passes."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_operator.laptop.price_news import LOOK_EVERY_S, PriceNews, windows_by_provider
from limpet_operator.resources.pricing import Pricing

MONDAY_NOON_S = datetime(2026, 11, 23, 12, tzinfo=UTC).timestamp()
HOUR_S = 3600.0
PEAK = {"name": "peak", "timeZone": "UTC", "from": "13:00", "to": "15:00", "factor": "2"}


class Watched:
    """A PriceNews over some Pricings, at Monday noon."""

    def __init__(self, build: Build) -> None:
        self._build = build
        self.now_s = MONDAY_NOON_S
        self.said: list[str] = []
        self.aged_s: list[float] = []
        self.news = PriceNews(self.said.append, lambda: self.aged_s.append(self.now_s), lambda: self.now_s)

    def apply(self, *pricings: dict[str, Any]) -> None:
        """These, each with a Provider of its name unless it names another."""
        names = {each["spec"]["providerRef"]["name"] for each in pricings}
        raws = [*(self._build.raw("Provider", name, credential=None) for name in sorted(names)), *pricings]
        objects = self._build.objects(*raws)
        self.news.changed(objects.of(Pricing), self._build.plan(*raws))


@pytest.fixture
def watched(build: Build) -> Watched:
    return Watched(build)


def _pricing(build: Build, name: str, provider: str = "", **spec: Any) -> dict[str, Any]:
    return build.raw("Pricing", name, providerRef={"name": provider or name}, **spec)


def _clock(at_s: float) -> str:
    return f"{datetime.fromtimestamp(at_s).astimezone():%H:%M}"


def test_each_provider_with_windows_has_a_line_at_the_start_and_when_a_window_turns(
    watched: Watched, build: Build
) -> None:
    watched.apply(_pricing(build, "a", windows=[PEAK]), _pricing(build, "b"))
    one, three = MONDAY_NOON_S + HOUR_S, MONDAY_NOON_S + 3 * HOUR_S
    assert watched.news.look()[0].startswith("a: the usual prices until ")
    watched.now_s += 59.9 * 60
    assert watched.news.look() == []
    watched.now_s = one
    (line,) = watched.news.look()
    assert line.startswith("a: prices of the window peak until ")
    assert line.endswith(_clock(three))
    watched.now_s = three
    (line,) = watched.news.look()
    assert line.startswith("a: the usual prices until ")
    assert line.endswith(_clock(one + 24 * HOUR_S))


def test_a_change_of_files_is_said_where_it_changes_what_holds(watched: Watched, build: Build) -> None:
    both = [_pricing(build, "a", windows=[PEAK]), _pricing(build, "b", windows=[PEAK])]
    watched.apply(*both)
    assert len(watched.news.look()) == 2
    watched.apply(*both)
    assert watched.news.look() == []
    watched.apply(both[0], _pricing(build, "b", windows=[{**PEAK, "from": "11:00"}]))
    (line,) = watched.news.look()
    assert line.startswith("b: prices of the window peak until ")


def test_a_clock_that_is_set_back_is_looked_at_again(watched: Watched, build: Build) -> None:
    watched.apply(_pricing(build, "a", windows=[PEAK]))
    watched.now_s += HOUR_S
    assert "window peak" in watched.news.look()[0]
    watched.now_s -= HOUR_S / 2
    assert "usual prices" in watched.news.look()[0]


def test_prices_are_reported_once_when_they_become_stale(watched: Watched, build: Build) -> None:
    aged: dict[str, Any] = {
        "source": {"name": "list", "retrieved": "2026-11-22"},
        "staleAfter": "37h",
    }  # until Monday, 13:00
    watched.apply(_pricing(build, "a", **aged))
    for hours in (0, 0.9, 1, 1.5, 40):
        watched.now_s = MONDAY_NOON_S + hours * HOUR_S
        watched.news.look()
    assert watched.aged_s == [MONDAY_NOON_S + HOUR_S]


def test_two_pricings_of_a_provider_are_one_line_and_those_not_in_force_are_none(build: Build) -> None:
    model = {"name": "other", "perMillionTokens": {"input": "1", "output": "2"}}
    night = {**PEAK, "name": "night", "from": "11:00", "to": "12:30"}
    raws = [
        build.raw("Provider", "a", credential=None, models=[{"name": "flash"}, {"name": "other"}]),
        _pricing(build, "a", windows=[{**PEAK, "from": "10:00"}]),
        _pricing(build, "a-2", "a", models=[model], windows=[night]),
        _pricing(build, "a-3", "a", models=[model], windows=[{**night, "name": "never"}]),
        _pricing(build, "nobody", windows=[PEAK]),
    ]
    (name, found), *more = windows_by_provider(
        build.objects(*raws).of(Pricing), build.plan(*raws), MONDAY_NOON_S
    ).items()
    assert (name, found.names, found.until_s, more) == ("a", "peak, night", MONDAY_NOON_S + HOUR_S / 2, [])


def test_another_day_is_named(watched: Watched, build: Build) -> None:
    watched.apply(_pricing(build, "a", windows=[{**PEAK, "days": ["Thu"]}]))
    (line,) = watched.news.look()
    assert " until Thu 2026-11-26 " in line or " until Fri 2026-11-27 " in line  # by the clock of this machine


async def test_it_goes_on_for_as_long_as_the_command(watched: Watched, build: Build) -> None:
    class EnoughError(Exception):
        pass

    async def sleep(seconds: float) -> None:
        watched.now_s += 600 * seconds
        if watched.now_s > MONDAY_NOON_S + 2 * HOUR_S:
            raise EnoughError

    watched.apply(_pricing(build, "a", windows=[PEAK]))
    with pytest.raises(EnoughError):
        await watched.news.run(sleep)
    assert [line.partition("  ")[2].partition(" until ")[0] for line in watched.said] == [
        "a: the usual prices",
        "a: prices of the window peak",
    ]
    assert LOOK_EVERY_S <= 1
