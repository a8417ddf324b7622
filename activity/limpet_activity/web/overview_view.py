"""The overview as its page shows it: sums beside their charts, and lists by provider, cause and reason."""

from collections.abc import Sequence
from typing import Final

import msgspec

from limpet_activity.store.facts import OTHERS
from limpet_activity.store.port import Group, Step, Sums
from limpet_activity.web.answers import Overview
from limpet_activity.web.charts import Chart, ChartLine, columns, lines
from limpet_activity.web.numbers import count, share, step_name, tick, usd
from limpet_activity.web.sentences import CACHE_CAUSES, REASONS

_TICKS: Final = {"1h": 6, "6h": 6, "24h": 6, "7d": 7, "30d": 6}


class GroupLine(msgspec.Struct, frozen=True):
    """One value of a list, with its part of the whole."""

    value: str
    name: str
    note: str
    sums: Sums
    part: float
    """Of the largest, 0 to 1."""
    linked: bool
    """Whether records can be filtered by it."""


class OverviewView(msgspec.Struct, frozen=True):
    """What the page shows."""

    asked: Overview
    money: Chart
    requests: Chart
    cached: Chart
    ticks: Sequence[str]
    """Below the charts, from left to right."""
    providers: Sequence[GroupLine]
    models: Sequence[GroupLine]
    reasons: Sequence[GroupLine]
    causes: Sequence[GroupLine]
    saved_spread_usd: float
    saved_uncached_usd: float
    observed_saved_usd: float | None
    """None: no request was observed."""
    steps: Sequence[tuple[str, Step]]
    """With what the clock shows, for the table beside the charts."""


def overview_view(asked: Overview) -> OverviewView:
    """All of it."""
    sums, span_s = asked.sums, asked.until_s - asked.since_s
    named = [(step_name(step.begin_s, span_s), step) for step in asked.steps]
    each = [step.sums for step in asked.steps]
    ticks = _TICKS[asked.range]
    # The last step has only begun: a line would fall at its end, whatever happens.
    whole: list[Sums | None] = [*each[:-1], None] if any(one.requests for one in each[:-1]) else [*each]
    observed = sums.observed_paid_usd - sums.observed_usd if sums.observed_paid_usd or sums.observed_usd else None
    return OverviewView(
        asked=asked,
        money=lines(
            [
                ChartLine(
                    "without a cache", "l-uncached", [None if one is None else one.uncached_usd for one in whole]
                ),
                ChartLine("not sticky", "l-spread", [None if one is None else one.spread_usd for one in whole]),
                ChartLine("paid", "l-paid", [None if one is None else one.paid_usd for one in whole], filled=True),
            ],
            [_money_tip(name, step.sums) for name, step in named],
        ),
        requests=columns(
            [float(one.requests) for one in each],
            [float(one.failed) for one in each],
            [_requests_tip(name, step.sums) for name, step in named],
        ),
        cached=lines(
            [
                ChartLine(
                    "cached share",
                    "l-cached",
                    [one.cached_tokens / one.prompt_tokens if one and one.prompt_tokens else None for one in whole],
                    filled=True,
                )
            ],
            [_cached_tip(name, step.sums) for name, step in named],
            top=1.0,
        ),
        ticks=[tick(asked.since_s + span_s * index / ticks, span_s) for index in range(ticks)],
        providers=_lines(asked.providers, {"": "no provider"}, {}),
        models=_lines(asked.models, {"": "(not read)"}, {}),
        reasons=_lines(asked.reasons, {"": "(unknown)"}, REASONS),
        causes=_lines([group for group in asked.causes if group.value], {}, CACHE_CAUSES),
        saved_spread_usd=sums.spread_usd - sums.paid_usd,
        saved_uncached_usd=sums.uncached_usd - sums.paid_usd,
        observed_saved_usd=observed,
        steps=named,
    )


def _lines(groups: Sequence[Group], names: dict[str, str], notes: object) -> list[GroupLine]:
    most = max((group.sums.requests for group in groups), default=0)
    texts = notes if isinstance(notes, dict) else {}
    return [
        GroupLine(
            value=group.value,
            name=names.get(group.value, group.value),
            note=texts.get(group.value, ""),
            sums=group.sums,
            part=group.sums.requests / most if most else 0.0,
            linked=group.value not in ("", OTHERS),
        )
        for group in groups
    ]


def _money_tip(name: str, sums: Sums) -> str:
    return (
        f"{name}|{usd(sums.paid_usd)} paid|{usd(sums.spread_usd)} not sticky|{usd(sums.uncached_usd)} without a cache"
    )


def _requests_tip(name: str, sums: Sums) -> str:
    return f"{name}|{count(sums.requests)} requests" + (f"|{count(sums.failed)} failed" if sums.failed else "")


def _cached_tip(name: str, sums: Sums) -> str:
    return f"{name}|{share(sums.cached_tokens, sums.prompt_tokens)} cached|{count(sums.prompt_tokens)} prompt tokens"
