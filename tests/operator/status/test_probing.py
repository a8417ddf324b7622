"""What a HealthProbe's status says about the providers that it probes."""

import pytest
from tests.operator.conftest import Build

from limpet_operator.planning.finding import Finding, ObjectFindings, not_accepted, unresolved
from limpet_operator.probe.view import ProbeResult
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.status.probing import probes_by_provider, probing, up_count

FINE = ObjectFindings()
DOWN = ProbeResult("alpha", "Down", "CredentialRefused", last_s=99.0, last_cause="Timeout")
SLOW = ProbeResult("alpha", "Degraded", "SlowFirstByte")
RESULTS = [DOWN, ProbeResult("beta", "Up"), ProbeResult("gamma", "Up")]


@pytest.fixture
def spec(build: Build) -> HealthProbe:
    parsed = build.objects(build.raw("HealthProbe")).parsed[build.key("HealthProbe")]
    assert isinstance(parsed, HealthProbe)
    return parsed


@pytest.mark.parametrize(
    ("results", "others", "message"),
    [
        (RESULTS, {}, "3 providers probed every 30s: 2 up, alpha Down (CredentialRefused)"),
        (
            [SLOW._replace(provider="team/alpha")],
            {},
            "1 provider probed every 30s: 0 up, alpha Degraded (SlowFirstByte)",
        ),
        (RESULTS[1:], {}, "2 providers probed every 30s: 2 up"),
        ([RESULTS[1], ProbeResult("new")], {}, "2 providers probed every 30s: 1 up, new not known yet"),
        (
            RESULTS[1:],
            {"beta": ["b", "a"], "alpha": []},
            "2 providers probed every 30s: 2 up; beta is also probed by HealthProbe a, b, and the worse verdict counts",
        ),
        (
            [DOWN._replace(provider=f"p{number}") for number in range(7)],
            {},
            "7 providers probed every 30s: 0 up, "
            + ", ".join(f"p{number} Down (CredentialRefused)" for number in range(5))
            + ", and 2 more",
        ),
    ],
)
def test_the_message_counts_and_names(
    spec: HealthProbe, results: list[ProbeResult], others: dict[str, list[str]], message: str
) -> None:
    assert probing(FINE, spec, results, others, 1) == Finding("Probing", "True", "Probing", message)


@pytest.mark.parametrize(
    ("planned", "gateways", "results", "reason", "message"),
    [
        (ObjectFindings(not_accepted("Invalid", "no")), 1, RESULTS, "NotAccepted", "condition Accepted"),
        (ObjectFindings(resolved_refs=unresolved("NothingSelected", "no")), 1, [], "RefsNotResolved", "ResolvedRefs"),
        (FINE, 0, RESULTS, "NoGateway", "check whether the gateway pods are ready"),
        (FINE, 1, [], "Pending", "none of its Providers is served yet"),
        (FINE, 1, [ProbeResult("a")], "Pending", "there have not been enough answers"),
        (FINE, 1, [ProbeResult("a", not_sent="no worker took it")], "Pending", "a not probed: no worker took it"),
        (
            FINE,
            1,
            [ProbeResult("a", last_cause="BadRequest", status=400, message="max_tokens is below 16")],
            "Pending",
            'a not known: BadRequest 400 "max_tokens is below 16"',
        ),
    ],
)
def test_it_is_unknown_where_nothing_is_known(
    spec: HealthProbe, planned: ObjectFindings, gateways: int, results: list[ProbeResult], reason: str, message: str
) -> None:
    found = probing(planned, spec, results, {}, gateways)
    assert (found.status, found.reason) == ("Unknown", reason)
    assert message in found.message


def test_single_probes_change_nothing(spec: HealthProbe) -> None:
    later = [each._replace(last_s=200.0, last_cause="", status=200, message="fine") for each in RESULTS]
    assert probing(FINE, spec, later, {}, 1) == probing(FINE, spec, RESULTS, {}, 1)


def test_probes_of_one_provider_are_found(build: Build) -> None:
    one, two = build.key("HealthProbe", "one"), build.key("HealthProbe", "two")
    found = probes_by_provider({one: RESULTS, two: [DOWN]})
    assert found == {"alpha": {one, two}, "beta": {one}, "gamma": {one}}
    assert up_count(RESULTS) == 2


NO_PATH = ProbeResult("a", last_cause="UnusableStatus", status=404, rejected="GET /v1/v1/models")
BAD_COMPLETION = ProbeResult(
    "b", last_cause="BadRequest", status=400, message="too short", rejected="POST /v1/chat/completions"
)


@pytest.mark.parametrize(
    ("results", "status", "reason", "message"),
    [
        (
            [NO_PATH],
            "False",
            "ProbeRejected",
            "a answers GET /v1/v1/models with 404: correct spec.http.path",
        ),
        (
            [BAD_COMPLETION, ProbeResult("new")],
            "False",
            "ProbeRejected",
            'b answers POST /v1/chat/completions with 400 "too short": correct spec.completion',
        ),
        (
            [ProbeResult("good", "Up"), NO_PATH],
            "True",
            "Probing",
            "2 providers probed every 30s: 1 up, a answers GET /v1/v1/models with 404: correct spec.http.path",
        ),
    ],
)
def test_a_probe_that_is_wrong_itself_says_so(
    spec: HealthProbe, results: list[ProbeResult], status: str, reason: str, message: str
) -> None:
    found = probing(FINE, spec, results, {}, 1)
    assert (found.status, found.reason, found.message) == (status, reason, message)
