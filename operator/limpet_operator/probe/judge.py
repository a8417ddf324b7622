"""From the outcomes of one probe at one provider to a verdict, by the probe's thresholds. Pure.

Each outcome speaks for one verdict. So many in a row that are all worse than the present verdict, or all better, change
it: to the mildest of the worse ones, or to the worst of the better ones. So a provider that is limited never
becomes Down, and single outcomes change nothing.
"""

from dataclasses import dataclass, replace
from typing import Final

from limpet_extproc.contract.attempt import OF_THE_PROVIDER
from limpet_extproc.contract.health_stream import VERDICTS, Verdict
from limpet_operator.probe.outcome import NOTHING, Outcome
from limpet_operator.resources.healthprobe import Thresholds

_BADNESS: Final = {verdict: badness for badness, verdict in enumerate(VERDICTS)}


_AFTER_CHANGE: Final = 2
"""The first probe after a change may still go out as before."""


def worse(one: Verdict, other: Verdict) -> bool:
    """Whether `one` is worse than `other`."""
    return _BADNESS[one] > _BADNESS[other]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of one provider by one probe. Times are Unix seconds."""

    verdict: Verdict | None = None
    """None: there have not been enough outcomes for one."""
    since_s: float = 0.0
    decided_by: Outcome = NOTHING
    """The newest outcome that speaks for the verdict."""
    last: Outcome = NOTHING
    last_s: float = 0.0
    run: int = 0
    """Newest outcomes in a row that speak against the verdict, all in the same direction."""
    run_to: Outcome = NOTHING
    """The one of them that decides if the run grows long enough."""
    rejections: int = 0
    """Newest answers in a row that blame the probe itself."""
    doubts: int = 1
    """Outcomes that must still agree with the verdict before it is asked as seldom as its probe says."""
    good_s: float = 0.0
    """When the newest probe that showed anything was sent, by a steady clock; 0: it was not a good one."""

    @property
    def settled(self) -> bool:
        """Whether it is known how the provider is doing since it or its probe appeared or changed."""
        return self.doubts == 0

    @property
    def whole_provider(self) -> bool:
        """Whether the verdict of a completion is about more than its model: an address, a key or an account."""
        return self.decided_by.cause in OF_THE_PROVIDER


NEW: Final = Standing()


def judged(standing: Standing, outcome: Outcome, thresholds: Thresholds, now_s: float, sent_s: float = 0.0) -> Standing:
    """After one more outcome, of a probe that was sent at `sent_s` by a steady clock."""
    seen = replace(standing, last=outcome, last_s=now_s)
    level = outcome.level
    if level is None:
        return seen if outcome.not_sent else _rejected(seen, outcome, thresholds, now_s)
    seen = replace(seen, rejections=0, good_s=sent_s if level == "Up" else 0.0)
    if standing.verdict is None and level == "Up":
        return _with_verdict(seen, "Up", outcome, now_s)
    current = standing.verdict or "Up"
    if level == current:
        by = standing.decided_by if outcome.says_the_same_as(standing.decided_by) else outcome
        return replace(seen, decided_by=by, run=0, doubts=max(0, seen.doubts - 1))
    worsens = worse(level, current)
    run, nearest = 1, outcome
    before = standing.run_to.level
    if standing.run and before is not None and worse(before, current) == worsens:
        run = standing.run + 1
        # The mildest of the worse, the worst of the better: in either case the nearest to the present verdict.
        if _distance(before, current) < _distance(level, current):
            nearest = standing.run_to
    if run >= (thresholds.failures_to_down if worsens else thresholds.successes_to_up):
        return _with_verdict(seen, nearest.level or level, nearest, now_s)
    return replace(seen, run=run, run_to=nearest)


def _rejected(standing: Standing, outcome: Outcome, thresholds: Thresholds, now_s: float) -> Standing:
    """After an answer that blames the probe. Enough of them in a row end a verdict, which nothing supports any more."""
    rejections = standing.rejections + 1
    if standing.verdict is not None and rejections >= thresholds.failures_to_down:
        return Standing(last=outcome, last_s=now_s, rejections=rejections, doubts=0)
    return replace(standing, rejections=rejections, doubts=max(0, standing.doubts - 1))


def _distance(one: Verdict, other: Verdict) -> int:
    return abs(_BADNESS[one] - _BADNESS[other])


def _with_verdict(standing: Standing, verdict: Verdict, outcome: Outcome, now_s: float) -> Standing:
    return replace(standing, verdict=verdict, since_s=now_s, decided_by=outcome, run=0, rejections=0, doubts=0)


def unsettled(standing: Standing) -> Standing:
    """After the provider has changed: the verdict stands until new outcomes show what the change did.

    So does the run against it: otherwise whoever changes something all the time would keep a dead provider up.
    """
    return replace(standing, doubts=_AFTER_CHANGE)
