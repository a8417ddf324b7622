"""The overview by provider: what each served over time, in its colour."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from limpet_activity.store.facts import OTHERS, added
from limpet_activity.store.port import Sums
from limpet_activity.web.answers import Overview
from limpet_activity.web.charts import Chart, ChartLine, lines, stacked_columns
from limpet_activity.web.colours import COLOURS, NO_COLOUR
from limpet_activity.web.numbers import count, share, step_name, usd
from limpet_activity.web.readable import readable

MOST_DRAWN: Final = COLOURS
"""Providers with most requests; the rest is one."""

_NOTHING: Final = Sums()


class ProviderCourse(msgspec.Struct, frozen=True):
    """One provider over the steps of the range."""

    name: str
    css: str
    linked: bool
    """Whether the overview can be narrowed to it."""
    steps: Sequence[Sums]
    sums: Sums


class ProviderChart(msgspec.Struct, frozen=True):
    """One figure of all providers over time."""

    title: str
    chart: Chart
    top: str
    bottom: str
    """Empty: it is zero."""
    summary: str
    """The same in words, over the whole range."""


class ByProviderView(msgspec.Struct, frozen=True):
    """What the page shows."""

    courses: Sequence[ProviderCourse]
    charts: Sequence[ProviderChart]
    rows: Sequence[tuple[str, Sequence[Sums]]]
    """Of the table beside the charts: steps in which something was, each with what the providers did in it."""


def by_provider_view(asked: Overview, colours: Mapping[str, str]) -> ByProviderView | None:
    """None where no provider answered, or only some requests are meant."""
    courses = _courses(asked, colours)
    if not courses:
        return None
    span_s = asked.until_s - asked.since_s
    names = [step_name(step.begin_s, span_s) for step in asked.steps]
    rows = [(name, [each.steps[at] for each in courses]) for at, name in enumerate(names)]
    return ByProviderView(
        courses, _charts(asked.range, courses, names), [row for row in rows if any(map(_any, row[1]))]
    )


def _any(sums: Sums) -> bool:
    return sums.requests > 0


def _courses(asked: Overview, colours: Mapping[str, str]) -> list[ProviderCourse]:
    at = {step.begin_s: index for index, step in enumerate(asked.steps)}
    steps: dict[str, list[Sums]] = {}
    for step in asked.provider_steps:
        if step.value and step.begin_s in at:
            theirs = steps.setdefault(step.value, [_NOTHING] * len(asked.steps))
            theirs[at[step.begin_s]] = step.sums
    totals = {name: _added(theirs) for name, theirs in steps.items()}
    ordered = sorted(steps, key=lambda name: (name == OTHERS, -totals[name].requests, name))
    shown = ordered if len(ordered) <= MOST_DRAWN else ordered[: MOST_DRAWN - 1]
    courses = [
        ProviderCourse(name, colours.get(name, NO_COLOUR), name != OTHERS, steps[name], totals[name])
        for name in sorted(shown)
    ]
    if rest := ordered[len(shown) :]:
        together = [_added(column) for column in zip(*(steps[name] for name in rest), strict=True)]
        courses.append(ProviderCourse(OTHERS, NO_COLOUR, linked=False, steps=together, sums=_added(together)))
    return courses


def _added(steps: Sequence[Sums]) -> Sums:
    total = _NOTHING
    for sums in steps:
        if sums is not _NOTHING:
            total = added(total, sums)
    return total


def _charts(span: str, courses: Sequence[ProviderCourse], names: Sequence[str]) -> list[ProviderChart]:
    def tips(told: Callable[[Sums], str]) -> list[str]:
        return [
            "|".join(
                (name, *(f"{readable(each.name)} {told(each.steps[at])}" for each in courses if _any(each.steps[at])))
            )
            for at, name in enumerate(names)
        ]

    def summary(title: str, told: Callable[[Sums], str]) -> str:
        return (
            f"{title} by provider in the last {span}: {', '.join(f'{each.name} {told(each.sums)}' for each in courses)}"
        )

    def columns(title: str, number: Callable[[Sums], float], shown: Callable[[float], str]) -> ProviderChart:
        told = lambda sums: shown(number(sums))  # noqa: E731
        layers = [(f"by {each.css}", [number(sums) for sums in each.steps]) for each in courses]
        chart = stacked_columns(layers, tips(told))
        return ProviderChart(title, chart, shown(chart.top), "", summary(title, told))

    # The last step has only begun, and is drawn if there is no other.
    has_whole = any(_any(sums) for each in courses for sums in each.steps[:-1])

    def line(number: Callable[[Sums], float | None], told: Callable[[Sums], str], top: float | None) -> Chart:
        drawn = []
        for each in courses:
            values = [number(sums) for sums in each.steps]
            drawn.append(ChartLine(each.name, f"by {each.css}", [*values[:-1], None] if has_whole else values))
        return lines(drawn, tips(told), top)

    cached = line(_cached, _cached_told, 1.0)
    saved = line(_saved, _saved_told, None)
    return [
        columns("Requests", lambda sums: float(sums.requests), count),
        ProviderChart("Cached share", cached, "100 %", "", summary("Cached share", _cached_told)),
        columns("Paid", lambda sums: sums.paid_usd, usd),
        ProviderChart(
            "Saved by staying",
            saved,
            usd(saved.top),
            usd(saved.bottom) if saved.bottom else "",
            summary("Saved by staying", _saved_told),
        ),
    ]


def _cached(sums: Sums) -> float | None:
    return sums.cached_tokens / sums.prompt_tokens if sums.prompt_tokens else None


def _cached_told(sums: Sums) -> str:
    return share(sums.cached_tokens, sums.prompt_tokens)


def _saved(sums: Sums) -> float:
    return sums.spread_usd - sums.paid_usd


def _saved_told(sums: Sums) -> str:
    return usd(_saved(sums))
