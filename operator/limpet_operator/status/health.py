"""How a provider is doing, by requests and by probes together: the worse of both counts. Pure.

What concerns one model leaves the others alone: the provider is then Degraded. Only when none of the
models that are asked for is up, it gets the mildest of their verdicts.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, NamedTuple

from limpet_extproc.contract.attempt import OF_ONE_API, SETTLED_BY_PEOPLE
from limpet_extproc.contract.catalog import Trouble
from limpet_extproc.contract.health_stream import VERDICTS, Probed, Verdict
from limpet_operator.fleet.view import Traffic, TrafficState
from limpet_operator.planning.finding import Finding, HealthyReason, ObjectFindings
from limpet_operator.planning.plan import Plan, PlannedProvider
from limpet_operator.status.findings import short_timeouts
from limpet_operator.status.health_words import Wording, answered, moves, probe_wording, wording
from limpet_operator.status.stranded import NONE_STRANDED, Stranded, stranded

MAX_MODELS_SHOWN: Final = 32
"""In one status."""
_NAMED: Final = 3
"""Models that a message names."""
_OF_TROUBLE: Final[Mapping[Trouble | None, Verdict]] = {
    None: "Up",
    "degraded": "Degraded",
    "over_limit": "Limited",
    "down": "Down",
}


_MAY_TIME_OUT: Final = frozenset({"TrafficOK", "ProbeOK", "Timeout", "ErrorRate", "Failing"})
"""Reasons that say less than that its timeouts are too short."""

_REQUESTS: Final = "requests"
"""Who has seen it, if not a probe."""

_SEEN_BY_PROBES: Final = frozenset({"NameNotResolved", "TLSFailed", "ConnectionRefused"})
"""Causes of which requests show no more than that the connection failed."""


@dataclass(frozen=True, slots=True)
class ModelHealth:
    """One model at a provider."""

    name: str
    verdict: Verdict
    reason: HealthyReason


@dataclass(frozen=True, slots=True)
class ProviderHealth:
    """What `status.health` and the condition `Healthy` say."""

    verdict: Verdict | Literal["Unknown"]
    finding: Finding
    models: tuple[ModelHealth, ...] = ()
    """Those whose verdict differs from the provider's, by name."""
    by_requests: bool = False
    """Whether requests have shown anything."""

    def troubled(self, models: Iterable[str]) -> frozenset[str]:
        """Those of its models that it is not up for."""
        if self.verdict == "Up" and not self.models:
            return frozenset()
        apart = {each.name: each.verdict for each in self.models}
        return frozenset(name for name in models if apart.get(name, self.verdict) not in ("Up", "Unknown"))


class _Opinion(NamedTuple):
    """What requests or the probes show about a provider, or about one model there."""

    verdict: Verdict
    cause: str = ""
    status: int = 0
    message: str = ""
    source: str = ""
    probe: str = ""
    """The HealthProbe whose opinion it is; empty: none's."""
    still_tried: bool = False
    """Requests go on being sent there, although they fail."""

    @property
    def severity(self) -> int:
        return VERDICTS.index(self.verdict)


@dataclass(frozen=True, slots=True)
class _Witnesses:
    """A provider, or one model there, with every opinion on it."""

    opinions: tuple[_Opinion, ...]

    @property
    def worst(self) -> _Opinion:
        # What a person has to settle says more than that it has gone out; of equal ones the first.
        return max(
            self.opinions,
            key=lambda each: (each.severity, each.cause in SETTLED_BY_PEOPLE, each.cause in _SEEN_BY_PROBES),
        )

    @property
    def sources(self) -> str:
        """Who says what the worst opinion says."""
        worst = self.worst
        reason = wording(worst.verdict, worst.cause).reason
        agreeing = (each for each in self.opinions if each.verdict == worst.verdict)
        return " and ".join(each.source for each in agreeing if wording(each.verdict, each.cause).reason == reason)


def healths(
    plan: Plan, traffic: Mapping[str, Traffic], probed: Mapping[str, Sequence[Probed]]
) -> Mapping[str, ProviderHealth]:
    """The health of every provider of a plan of which something is known, by name."""

    def health(each: PlannedProvider, left: Stranded) -> ProviderHealth:
        known = traffic.get(each.name), probed.get(each.name, ())
        return provider_health(plan.findings[each.spec.key], *known, short_timeouts(each.spec), left)

    known = {each.name: each for each in plan.providers if each.name in traffic or each.name in probed}
    found = {name: health(each, NONE_STRANDED) for name, each in known.items()}
    troubled = {name: found[name].troubled(model.name for model in each.spec.models) for name, each in known.items()}
    left = stranded(plan.providers, troubled)
    return found | {name: health(known[name], each) for name, each in left.items() if name in known}


def provider_health(
    planned: ObjectFindings,
    traffic: Traffic | None,
    probed: Sequence[Probed] = (),
    short_timeouts: str = "",
    left: Stranded = NONE_STRANDED,
) -> ProviderHealth:
    """The health of a provider.

    `short_timeouts` says which of its timeouts are below the vendor's defaults, `left` which of its models no provider
    is up for.
    """
    if not planned.ok:
        return _unknown("NotProgrammed", "no requests are sent there; see the other conditions")
    known = traffic or Traffic()
    whole = _Witnesses((*_of_requests(known.whole, probed), *_of_probes(probed, "")))
    names = sorted({*known.models, *(each.model for each in probed if each.model)})
    models = {
        name: _Witnesses(
            (
                *_of_requests(known.models.get(name), [each for each in probed if each.model == name]),
                *_of_probes(probed, name),
            )
        )
        for name in names
    }
    if not whole.opinions and not models:
        return _unknown("NoTraffic", "no request or probe has shown anything yet; nothing to do")
    by_requests = known.whole is not None or bool(known.models)
    health = replace(_judged(whole, models, left), by_requests=by_requests)
    if known.times_out and short_timeouts and health.finding.reason in _MAY_TIME_OUT:
        message = f"its timeouts ended several requests of the last ten minutes: {short_timeouts}"
        finding = Finding("Healthy", "False", "TimeoutTooShort", message)
        return replace(health, verdict="Degraded" if health.verdict == "Up" else health.verdict, finding=finding)
    return health


def _judged(whole: _Witnesses, models: Mapping[str, _Witnesses], left: Stranded) -> ProviderHealth:
    troubled = {name: scope for name, scope in models.items() if scope.worst.severity}
    by_whole = whole.worst if whole.opinions else _Opinion("Up")
    if not troubled or by_whole.severity >= _by_models(models, troubled):
        verdict = by_whole.verdict
        worse = {name: scope for name, scope in troubled.items() if scope.worst.severity > by_whole.severity}
        finding = _finding(whole, worse, left) if by_whole.severity else _well(whole, models)
    else:
        verdict = VERDICTS[_by_models(models, troubled)]
        finding = _of_models(troubled, verdict, left, all_of_them=len(troubled) == len(models))
    differing = [
        ModelHealth(name, worst.verdict, _reason(worst))
        for name, scope in sorted(models.items(), key=lambda item: (-item[1].worst.severity, item[0]))
        if (worst := max(by_whole, scope.worst, key=lambda each: each.severity)).verdict != verdict
    ]
    shown = sorted(differing[:MAX_MODELS_SHOWN], key=lambda each: each.name)
    return ProviderHealth(verdict, finding, tuple(shown))


def _by_models(models: Mapping[str, _Witnesses], troubled: Mapping[str, _Witnesses]) -> int:
    """How bad the provider is because of its models."""
    if len(troubled) < len(models):
        return VERDICTS.index("Degraded")
    return min(scope.worst.severity for scope in troubled.values())


def _of_requests(state: TrafficState | None, probed: Iterable[Probed]) -> Iterable[_Opinion]:
    """`probed` are the verdicts that may show the same trouble to be over."""
    if state is None:
        return
    if state.trouble in ("down", "over_limit") and any(
        each.verdict == "Up" and each.since_s > state.since_s for each in probed
    ):
        # The outage has ended for the probes. No request has been sent there since, or it would be out anew.
        return
    words = (state.cause, state.status, state.message, _REQUESTS)
    if state.cause in OF_ONE_API and state.trouble is None:
        yield _Opinion("Degraded", *words, still_tried=True)
    elif state.cause in SETTLED_BY_PEOPLE:
        yield _Opinion("Down", *words, still_tried=state.trouble in (None, "degraded"))
    else:
        yield _Opinion(_OF_TROUBLE[state.trouble], *words)


def _of_probes(probed: Sequence[Probed], model: str) -> Iterable[_Opinion]:
    for each in probed:
        if each.model == model:
            probe = each.probes[0].rpartition("/")[2] if each.probes else ""  # The one that decided.
            source = f"probe {probe}" if probe else "a probe"
            yield _Opinion(each.verdict, each.cause, each.status, each.message, source, probe)


def _finding(scope: _Witnesses, worse_models: Mapping[str, _Witnesses], left: Stranded) -> Finding:
    """What is wrong with a provider as a whole."""
    worst = scope.worst
    words = _wording(worst)
    moving = moves(worst.verdict, left, still_tried=worst.still_tried)
    parts = (_clause(scope), moving, words.advice, _listed(worse_models))
    return Finding("Healthy", "False", words.reason, "; ".join(filter(None, parts)))


def _of_models(troubled: Mapping[str, _Witnesses], verdict: Verdict, left: Stranded, *, all_of_them: bool) -> Finding:
    """What is wrong with models of a provider that is well otherwise."""
    name, scope = max(troubled.items(), key=lambda item: item[1].worst.severity)
    worst = scope.worst
    words = _wording(worst)
    moving = "requests for it go to other providers, and other models stay"
    if worst.cause in OF_ONE_API:
        moving = moves(verdict, NONE_STRANDED, still_tried=True)
    elif all_of_them:
        moving = moves(verdict, left, still_tried=worst.still_tried)
    elif left.models:
        moving = f"{left.clause}, and other models stay"
    what = f"model {name} is {worst.verdict}: {_clause(scope)}"
    others = _listed({each: of for each, of in troubled.items() if each != name})
    return Finding("Healthy", "False", words.reason, "; ".join(filter(None, (what, moving, words.advice, others))))


def _listed(models: Mapping[str, _Witnesses]) -> str:
    clauses = [f"model {name} is {scope.worst.verdict} ({_reason(scope.worst)})" for name, scope in models.items()]
    more = len(clauses) - _NAMED
    return ", ".join(clauses if more <= 0 else [*clauses[:_NAMED], f"and {more} more"])


def _clause(scope: _Witnesses) -> str:
    worst = scope.worst
    # The status of a stream that broke off, or of an answer that was only slow, is a good one.
    answer = "" if worst.cause in ("BrokenOff", "SlowFirstByte") else answered(worst.status, worst.message)
    return f"{_wording(worst).wrong}{f': {answer}' if answer else ''} (seen by {scope.sources})"


def _wording(opinion: _Opinion) -> Wording:
    by_probe = probe_wording(opinion.probe, opinion.cause, opinion.message) if opinion.probe else None
    return by_probe or wording(opinion.verdict, opinion.cause)


def _well(whole: _Witnesses, models: Mapping[str, _Witnesses]) -> Finding:
    opinions = [each for scope in (whole, *models.values()) for each in scope.opinions]
    by_requests = any(each.source == _REQUESTS for each in opinions)
    by_probes = any(each.source != _REQUESTS for each in opinions)
    if by_requests:
        what = "requests and probes" if by_probes else "requests"
        return Finding("Healthy", "True", "TrafficOK", f"its last {what} were answered")
    return Finding("Healthy", "True", "ProbeOK", "its last probes were answered; no requests have gone there lately")


def _reason(opinion: _Opinion) -> HealthyReason:
    if opinion.severity:
        return wording(opinion.verdict, opinion.cause).reason
    return "TrafficOK" if opinion.source == _REQUESTS else "ProbeOK"


def _unknown(reason: HealthyReason, message: str) -> ProviderHealth:
    return ProviderHealth("Unknown", Finding("Healthy", "Unknown", reason, message))
