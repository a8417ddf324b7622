"""How a provider is doing: the worse of requests and probes, and one model's trouble is not the others'."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.contract.catalog import Trouble
from limpet_extproc.contract.health_stream import VERDICTS, Probed, Verdict
from limpet_operator.fleet.view import Traffic, TrafficState
from limpet_operator.planning.finding import HealthyReason, ObjectFindings, unresolved
from limpet_operator.status.health import MAX_MODELS_SHOWN, ModelHealth, healths, provider_health

FINE = ObjectFindings()
NO_SECRET = ObjectFindings(resolved_refs=unresolved("SecretNotFound", "there is no Secret deepseek; create it"))
UP = TrafficState()


def doing(trouble: Trouble | None, cause: str = "", status: int = 0, message: str = "") -> TrafficState:
    return TrafficState(trouble, 9.0, cause, status, message)


def probed(verdict: Verdict, cause: Cause = "", model: str = "", status: int = 0, message: str = "") -> Probed:
    return Probed("a", verdict, cause, 9.0, model, status, message, ("default/strict",))


def up_since(since_s: float, model: str = "") -> Probed:
    return Probed("a", "Up", "", since_s, model, probes=("default/strict",))


KEY = doing(None, "CredentialRefused", 401, "no way")
BROKEN = doing("down", "ServerError", 500, "oops")

Case = tuple[str, Traffic | None, list[Probed], str, HealthyReason, str]
CASES: list[Case] = [
    ("nothing is known", None, [], "Unknown", "NoTraffic", "no request or probe"),
    ("requests are answered", Traffic(UP), [], "Up", "TrafficOK", "its last requests were answered"),
    ("probes are answered", None, [probed("Up")], "Up", "ProbeOK", "its last probes were answered"),
    ("both are", Traffic(UP), [probed("Up")], "Up", "TrafficOK", "its last requests and probes were answered"),
    ("out", Traffic(BROKEN), [], "Down", "Failing",
     'it failed several times in a row: 500 "oops" (seen by requests); its conversations go to other providers'),
    ("out, and nothing else is known", Traffic(doing("down")), [], "Down", "Failing", "in a row (seen by requests);"),
    ("limited", Traffic(doing("over_limit", "Limited", 429)), [], "Limited", "OverLimit",
     "it is rate-limiting us: 429 (seen by requests); other providers take its requests meanwhile; ask the vendor"),
    ("overloaded", Traffic(doing("over_limit", "Overloaded", 529)), [], "Limited", "OverLimit", "is overloaded: 529"),
    ("slow", Traffic(doing("degraded", "SlowFirstByte")), [], "Degraded", "SlowFirstByte", "much later than usual"),
    ("fails often", Traffic(doing("degraded", "ErrorRate")), [], "Degraded", "ErrorRate", "provider that is up"),
    ("a key that is refused now and then", Traffic(KEY), [], "Down", "CredentialRefused",
     'it rejects the API key: 401 "no way" (seen by requests); requests that fail there go to other providers;'),
    ("a key that is refused each time", Traffic(doing("down", "CredentialRefused", 401)), [], "Down",
     "CredentialRefused", "it is tried last; correct what spec.credential names"),
    ("no credit", Traffic(doing(None, "NoCredit", 402)), [], "Down", "NoCredit", "pay, or remove the Provider"),
    ("forbidden", Traffic(doing("down", "Forbidden", 403)), [], "Down", "Forbidden", "is allowed to do"),
    ("a redirect", Traffic(doing(None, "Redirected", 308)), [], "Down", "Redirected", "spec.url to the address"),
    ("DNS", Traffic(doing("down", "NameNotResolved")), [], "Down", "NameNotResolved", "does not resolve (seen by"),
    ("TLS", Traffic(doing("down", "TLSFailed")), [], "Down", "TLSFailed", "check its certificate, and spec.tls"),
    ("refused", Traffic(doing("down", "ConnectionRefused")), [], "Down", "ConnectionRefused", "refuses connections"),
    ("DNS, which requests can't tell", Traffic(doing("down", "ConnectionFailed")), [probed("Down", "NameNotResolved")],
     "Down", "NameNotResolved", "does not resolve (seen by probe strict)"),
    ("broken connections", Traffic(doing("down", "ConnectionFailed")), [], "Down", "ConnectionFailed", "firewalls"),
    ("silence", Traffic(doing("down", "Timeout")), [], "Down", "Timeout", "raise spec.timeouts"),
    ("a portal", Traffic(doing("down", "NotAnAnswer", 200)), [], "Down", "NotAnAnswer", "is the base URL of the API"),
    ("errors in answers", Traffic(doing("down", "ErrorInAnswer", 200)), [], "Down", "ErrorInAnswer", "contain errors"),
    ("probes are worse", Traffic(UP), [probed("Down", "Timeout")], "Down", "Timeout", "(seen by probe strict)"),
    ("requests are worse", Traffic(BROKEN), [probed("Up")], "Down", "Failing", "(seen by requests)"),
    ("probes are back since", Traffic(BROKEN), [up_since(10.0)], "Up", "ProbeOK", "its last probes were answered"),
    ("or were well all the while", Traffic(BROKEN), [up_since(8.0)], "Down", "Failing", "(seen by requests)"),
    ("they show no speed", Traffic(doing("degraded", "SlowStream")), [up_since(10.0)], "Degraded", "SlowStream", "by"),
    ("nor single models", Traffic(UP, {"pro": BROKEN}), [up_since(10.0)], "Down", "Failing", "model pro is Down"),
    ("unless they ask for it", Traffic(UP, {"pro": BROKEN}), [up_since(10.0, "pro")], "Up", "TrafficOK", "answered"),
    ("both say the same", Traffic(KEY), [probed("Down", "CredentialRefused")], "Down", "CredentialRefused",
     "(seen by requests and probe strict)"),
    ("what a person can settle comes first", Traffic(BROKEN), [probed("Down", "NoCredit")], "Down", "NoCredit",
     "(seen by probe strict)"),
    ("only the probe that decided is named", None, [Probed("a", "Down", "Timeout", probes=("default/b", "default/a"))],
     "Down", "Timeout", "(seen by probe b)"),
    ("a slow probe", None, [probed("Degraded", "SlowFirstByte")], "Degraded", "SlowFirstByte", "probe strict"),
    ("a probe's own timeout", None, [probed("Down", "Timeout", message="no answer within 2 s")], "Down", "Timeout",
     "it does not answer the probe in time: no answer within 2 s (seen by probe strict); its conversations"),
    ("and what to change", None, [probed("Down", "Timeout")], "Down", "Timeout", "raise timeout of HealthProbe strict"),
    ("slower than the probe allows", None,
     [probed("Degraded", "SlowFirstByte", status=200, message="slower than the probe's degradedAfter (0.6 s)")],
     "Degraded", "SlowFirstByte",
     "its answers are slower than the probe's degradedAfter (0.6 s) (seen by probe strict); its"),
    ("another status than the probe's", None, [probed("Down", "UnusableStatus", status=204)], "Down", "Failing",
     "a status that the probe does not expect: 204 (seen by probe strict)"),
    ("broken streams", Traffic(doing("down", "BrokenOff", 200)), [], "Down", "Failing",
     "its answers break off before their end (seen by requests)"),
    ("one model of two is out", Traffic(UP, {"flash": UP, "pro": doing("down", "ModelNotFound", 404, "no pro")}), [],
     "Degraded", "ModelNotFound",
     'model pro is Down: it does not know a requested model: 404 "no pro" (seen by requests); requests for it'),
    ("and the others stay", Traffic(UP, {"flash": UP, "pro": doing("down", "ModelNotFound", 404)}), [], "Degraded",
     "ModelNotFound", "requests for it go to other providers, and other models stay; correct upstreamName"),
    ("an API that is not there", Traffic(UP, {"flash": TrafficState(cause="PathNotFound", status=404)}),
     [], "Degraded", "PathNotFound", "it is asked for: 404 (seen by requests); requests that fail there go"),
    ("one model is limited", Traffic(UP, {"flash": UP, "pro": doing("over_limit", "Limited", 429)}), [],
     "Degraded", "OverLimit", "model pro is Limited: it is rate-limiting us: 429"),
    ("all that are asked for are out", Traffic(UP, {"flash": BROKEN, "pro": doing("down", "Timeout")}), [],
     "Down", "Failing", "model flash is Down: it failed several times in a row"),
    ("and the other one is named", Traffic(UP, {"flash": BROKEN, "pro": doing("down", "Timeout")}), [],
     "Down", "Failing", "; model pro is Down (Timeout)"),
    ("as good as its best model", Traffic(UP, {"flash": BROKEN, "pro": doing("over_limit", "Limited")}), [],
     "Limited", "Failing", "model flash is Down"),
    ("the only model that is asked for", Traffic(None, {"flash": BROKEN}), [], "Down", "Failing", "model flash"),
    ("a probe of a model", Traffic(UP, {"flash": UP}), [probed("Down", "ModelNotFound", "pro", 404, "no pro")],
     "Degraded", "ModelNotFound", "(seen by probe strict)"),
    ("slow, and a model is out", Traffic(doing("degraded", "SlowFirstByte"), {"flash": UP, "pro": BROKEN}), [],
     "Degraded", "SlowFirstByte", "; model pro is Down (Failing)"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("traffic", "probes", "verdict", "reason", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_the_worse_of_requests_and_probes_counts(
    traffic: Traffic | None, probes: list[Probed], verdict: str, reason: HealthyReason, message: str
) -> None:
    found = provider_health(FINE, traffic, probes)
    assert (found.verdict, found.finding.reason) == (verdict, reason)
    assert found.finding.status == {"Up": "True", "Unknown": "Unknown"}.get(verdict, "False")
    assert message in found.finding.message


def test_a_provider_that_is_not_served_is_not_judged() -> None:
    found = provider_health(NO_SECRET, Traffic(UP))
    assert (found.verdict, found.finding.reason) == ("Unknown", "NotProgrammed")


SHORT = "timeouts.firstByte is 5s, and for DeepSeek 5m by default; remove it, or allow more time"


@pytest.mark.parametrize(
    ("traffic", "short", "verdict", "reason"),
    [
        (Traffic(UP, times_out=True), SHORT, "Degraded", "TimeoutTooShort"),
        (Traffic(doing("down", "Timeout"), times_out=True), SHORT, "Down", "TimeoutTooShort"),
        (Traffic(KEY, times_out=True), SHORT, "Down", "CredentialRefused"),
        (Traffic(UP, times_out=True), "", "Up", "TrafficOK"),
        (Traffic(UP), SHORT, "Up", "TrafficOK"),
    ],
)
def test_timeouts_that_are_too_short_are_told(traffic: Traffic, short: str, verdict: str, reason: str) -> None:
    found = provider_health(FINE, traffic, short_timeouts=short)
    assert (found.verdict, found.finding.reason) == (verdict, reason)
    assert (SHORT in found.finding.message) == (reason == "TimeoutTooShort")


def test_models_that_differ_are_listed_by_name() -> None:
    traffic = Traffic(UP, {"z": UP, "pro": BROKEN, "air": doing("degraded", "ErrorRate")})
    assert provider_health(FINE, traffic).models == (
        ModelHealth("pro", "Down", "Failing"),
        ModelHealth("z", "Up", "TrafficOK"),
    )
    assert provider_health(FINE, Traffic(BROKEN, {"pro": BROKEN, "z": UP})).models == ()


def test_of_many_models_the_worst_are_listed() -> None:
    models = {f"m{number:03}": UP for number in range(100)} | {"zz": BROKEN}
    found = provider_health(FINE, Traffic(UP, models))
    assert len(found.models) == MAX_MODELS_SHOWN
    assert found.models[-1] == ModelHealth("zz", "Down", "Failing")


TROUBLES: st.SearchStrategy[Trouble | None] = st.sampled_from([None, *get_args(Trouble)])
STATES = st.builds(doing, TROUBLES, st.sampled_from(get_args(Cause)))
MODELS = st.dictionaries(st.sampled_from(["m1", "m2", "m3"]), STATES)
PROBES = st.lists(
    st.builds(probed, st.sampled_from(VERDICTS), st.sampled_from(get_args(Cause)), st.sampled_from(["", "m1", "m2"])),
    max_size=4,
)


@given(st.builds(Traffic, st.none() | STATES, MODELS), PROBES)
def test_more_bad_news_never_makes_a_provider_better(traffic: Traffic, probes: list[Probed]) -> None:
    ranks = ("Unknown", *VERDICTS)
    before, after = provider_health(FINE, traffic, probes), provider_health(FINE, traffic, [*probes, probed("Down")])
    assert after.verdict == "Down"
    assert ranks.index(before.verdict) <= ranks.index(after.verdict)
    for found in (before, after):
        assert (found.finding.status == "True") == (found.verdict == "Up")
        assert all(model.verdict != found.verdict for model in found.models)
        assert found.finding.reason in get_args(HealthyReason)


def test_where_no_other_provider_is_up_none_is_promised(build: Build) -> None:
    """Of three providers one is alone with its model; of the other two one is down, and then both are."""
    models = {"a": ["shared"], "b": ["shared", "own"], "c": ["sole"]}
    planned = build.plan(
        *(
            build.raw("Provider", name, credential=None, models=[{"name": each} for each in served])
            for name, served in models.items()
        )
    )

    def messages(*down: str) -> dict[str, str]:
        found = healths(planned, {name: Traffic(BROKEN if name in down else UP) for name in models}, {})
        return {name: found[name].finding.message for name in down}

    assert "its conversations go to other providers" in messages("a")["a"]
    assert "no provider" not in messages("a")["a"]
    assert "; no provider of model sole is up, so requests are still sent there; look at" in messages("c")["c"]
    both = messages("a", "b")
    assert "; no provider of model shared is up, so requests are still sent there; look at" in both["a"]
    assert "; no provider of model shared, own is up, so requests are still sent there; look at" in both["b"]
    assert "it is tried last; no provider of model own is up; look at" in messages("b")["b"]


def test_a_model_that_no_provider_is_up_for_is_named(build: Build) -> None:
    planned = build.plan(build.raw("Provider", "a", credential=None, models=[{"name": "flash"}, {"name": "pro"}]))
    found = healths(planned, {"a": Traffic(UP, {"flash": UP, "pro": BROKEN})}, {})
    assert "; no provider of model pro is up, and other models stay; look at" in found["a"].finding.message
