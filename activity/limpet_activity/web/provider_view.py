"""Providers as their page shows them: how each is doing, did, and what it costs."""

from collections.abc import Mapping, Sequence
from typing import Final

import msgspec
from markupsafe import Markup

from limpet_activity.store.port import Sums, VerdictSpan
from limpet_activity.web.answers import LastError, ProvidersAnswer
from limpet_activity.web.charts import spans
from limpet_activity.web.course import in_words
from limpet_activity.web.numbers import clock
from limpet_activity.web.readable import readable
from limpet_extproc.contract.activity import ProviderReport

_WORST_FIRST: Final = ("down", "over_limit", "degraded", "up")
_MOST_TROUBLES: Final = 5
STALE_S: Final = 120.0
"""A gateway that has not reported for so long may be gone."""


class GatewayLine(msgspec.Struct, frozen=True):
    """How a provider is doing, as one gateway sees it."""

    gateway: str
    report: ProviderReport
    at_s: float
    stale: bool
    bar: Markup
    told: str
    """The same as the bar, for those who do not see it."""
    troubles: Sequence[str]
    """When it was not up and why, the last few."""


class ProviderView(msgspec.Struct, frozen=True):
    """One provider."""

    name: str
    verdict: str
    """The worst that a gateway sees."""
    cause: str
    since_s: float
    draining: bool
    report: ProviderReport
    """The newest, for what does not differ from gateway to gateway."""
    gateways: Sequence[GatewayLine]
    sums: Sums
    last_error: LastError | None


def provider_views(answer: ProvidersAnswer, now_s: float) -> list[ProviderView]:
    """By name."""
    sums: Mapping[str, Sums] = {group.value: group.sums for group in answer.sums}
    views = []
    for name in sorted({seen.report.provider for seen in answer.seen}):
        seen = [each for each in answer.seen if each.report.provider == name]
        newest = max(seen, key=lambda each: each.at_s)
        fresh = [each for each in seen if newest.at_s - each.at_s < STALE_S]
        worst = min(fresh, key=lambda each: severity(each.report.verdict))
        views.append(
            ProviderView(
                name=name,
                verdict=worst.report.verdict,
                cause=worst.report.cause,
                since_s=worst.report.since_s,
                draining=any(each.report.draining for each in fresh),
                report=newest.report,
                gateways=[
                    _gateway(
                        each.gateway,
                        each.report,
                        each.at_s,
                        now_s,
                        answer,
                        [span for span in answer.verdicts if (span.provider, span.gateway) == (name, each.gateway)],
                    )
                    for each in seen
                ],
                sums=sums.get(name, Sums()),
                last_error=answer.last_errors.get(name),
            )
        )
    return views


def severity(verdict: str) -> int:
    """0 is the worst."""
    lower = verdict.lower()
    return _WORST_FIRST.index(lower) if lower in _WORST_FIRST else len(_WORST_FIRST)


def verdict_css(verdict: str) -> str:
    """The class that draws it."""
    lower = verdict.lower()
    return f"v-{lower}" if lower in _WORST_FIRST else "v-unknown"


def _gateway(
    gateway: str,
    report: ProviderReport,
    at_s: float,
    now_s: float,
    answer: ProvidersAnswer,
    theirs: Sequence[VerdictSpan],
) -> GatewayLine:
    # What is after the last report is not known.
    until_s = min(now_s, answer.until_s) if now_s - at_s < STALE_S else at_s
    drawn = [
        (verdict_css(span.verdict), span.begin_s, span.end_s or until_s, _span_told(span, until_s, now_s))
        for span in theirs
    ]
    bad_s = sum(
        max(0.0, min(end, until_s) - max(begin, answer.since_s)) for css, begin, end, _ in drawn if css != "v-up"
    )
    known_s = until_s - max(answer.since_s, min((begin for _, begin, _, _ in drawn), default=until_s))
    told = "up as long as it is known here"
    if bad_s > 0 and known_s > 0:
        told = f"not up for {100 * bad_s / known_s:.1f} % of the time"
    bad = [tip for css, _, end, tip in drawn if css != "v-up" and end > answer.since_s]
    return GatewayLine(
        gateway=gateway,
        report=report,
        at_s=at_s,
        stale=now_s - at_s >= STALE_S,
        bar=spans(drawn, answer.since_s, min(now_s, answer.until_s)),
        told=told,
        troubles=[tip.replace("|", " ") for tip in bad[-_MOST_TROUBLES:]],
    )


def _span_told(span: VerdictSpan, until_s: float, now_s: float) -> str:
    """`down: overloaded|13:12:05 to 13:52:05`, in the lines of a tip."""
    cause = f": {in_words(span.cause)}" if span.cause else ""
    until = "now" if span.end_s is None and until_s >= now_s else clock(span.end_s or until_s, now_s)
    return readable(f"{span.verdict.replace('_', ' ')}{cause}|{clock(span.begin_s, now_s)} to {until}")
