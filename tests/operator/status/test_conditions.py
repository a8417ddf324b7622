"""Statuses: one vocabulary, true to the fleet, and unchanged while nothing changes."""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_operator.fleet.view import GatewayState, Traffic
from limpet_operator.planning import finding
from limpet_operator.planning.finding import Finding, ObjectFindings, no_effect, not_accepted, unresolved
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.provider import Provider
from limpet_operator.status import findings
from limpet_operator.status.conditions import (
    as_before,
    desired_health,
    desired_status,
    difference,
    steady,
    transitions,
    without_history,
)
from limpet_operator.status.health import ModelHealth, ProviderHealth

ROOT = Path(__file__).parents[3]
OPERATOR = ROOT / "operator" / "limpet_operator"
NOW = datetime(2026, 12, 1, 12, 0, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=5)
FINE = ObjectFindings()
NO_SECRET = ObjectFindings(resolved_refs=unresolved("SecretNotFound", "there is no Secret deepseek; create it"))
INVALID = ObjectFindings(
    not_accepted("Invalid", "spec.url: is missing"), Finding("ResolvedRefs", "Unknown", "Invalid", "once it is valid")
)
ACCEPTED = Finding("Accepted", "True", "Accepted", "it is used")


def gateway(node: str, version: str | None = None, refusal: str | None = None) -> GatewayState:
    return GatewayState(node, {"a": version} if version else {}, {"a": refusal} if refusal else {})


@pytest.mark.parametrize(
    ("planned", "gateways", "status", "reason", "message"),
    [
        (FINE, [gateway("g1", "v2"), gateway("g2", "v2")], "True", "Programmed", "all 2 gateways serve it"),
        (FINE, [gateway("g1", "v2")], "True", "Programmed", "the one gateway serves it"),
        (FINE, [gateway("g1", "v2"), gateway("g2", "v1")], "False", "Pending", "1 of 2 gateways has it"),
        (FINE, [gateway("g1"), gateway("g2"), gateway("g3")], "False", "Pending", "0 of 3 gateways have it"),
        (FINE, [], "False", "NoGateway", "gateway pods are ready"),
        (FINE, [gateway("g1", "v2"), gateway("g2", "v1", "no such field")], "False", "Rejected", "g2 rejects"),
        # A rejection of an older version says nothing about the one that was acknowledged since.
        (FINE, [gateway("g1", "v2", "no such field")], "True", "Programmed", ""),
        (NO_SECRET, [gateway("g1", "v1")], "False", "RefsNotResolved", "ResolvedRefs"),
        (INVALID, [gateway("g1", "v1")], "False", "NotAccepted", "Accepted"),
    ],
)
def test_programmed_is_what_every_gateway_has_acknowledged(
    planned: ObjectFindings, gateways: list[GatewayState], status: str, reason: str, message: str
) -> None:
    found = findings.programmed("a", planned, "v2", gateways)
    assert (found.status, found.reason) == (status, reason)
    assert message in found.message


def test_a_provider_that_is_not_published_yet_is_programmed_nowhere() -> None:
    assert findings.programmed("a", FINE, None, [gateway("g1")]).reason == "Pending"


@pytest.mark.parametrize(
    ("traffic", "status", "reason", "message"),
    [
        (None, "Unknown", "ConversationsUnknown", "no worker has reported its conversations yet"),
        (
            Traffic(warm_conversations=12),
            "False",
            "ConversationsLeft",
            "about 12 conversations are warm there and stay",
        ),
        (Traffic(warm_conversations=1), "False", "ConversationsLeft", "one conversation is warm there and stays;"),
        (Traffic(), "True", "Drained", "no conversation is warm there any more; it can be removed"),
    ],
)
def test_a_draining_provider_says_what_is_left(traffic: Traffic | None, status: str, reason: str, message: str) -> None:
    found = findings.drained(traffic)
    assert (found.status, found.reason) == (status, reason)
    assert message in found.message


@pytest.mark.parametrize(
    ("timeouts", "said"),
    [
        ({}, ""),
        ({"firstByte": "30m", "unstreamed": "30m", "idle": "1h"}, ""),
        ({"connect": "1s"}, ""),
        (
            {"firstByte": "5s"},
            "timeouts.firstByte is 5s, and for DeepSeek 10m by default; remove it, or allow more time",
        ),
        (
            {"unstreamed": "1m", "idle": "2s"},
            "timeouts.unstreamed is 1m, and for DeepSeek 10m by default; timeouts.idle is 2s, and for DeepSeek 2m",
        ),
    ],
)
def test_timeouts_below_the_vendors_default_are_named(build: Build, timeouts: dict[str, str], said: str) -> None:
    parsed = build.objects(build.raw("Provider", timeouts=timeouts)).parsed[build.key("Provider")]
    assert isinstance(parsed, Provider)
    found = findings.short_timeouts(parsed)
    assert found.startswith(said)
    assert bool(found) == bool(said)


@pytest.mark.parametrize(
    ("retrieved", "stale_after", "now", "status", "reason"),
    [
        ("2026-11-20", "720h", "2026-12-01", "True", "Fresh"),
        ("2026-11-20", "720h", "2026-12-19T23:59:59", "True", "Fresh"),
        ("2026-11-20", "720h", "2026-12-20", "False", "Stale"),
        ("2026-11-20", None, "2030-01-01", "True", "NoLimit"),
        (None, "720h", "2026-12-01", "Unknown", "NoDate"),
        ("2026-02-30", "720h", "2026-12-01", "Unknown", "NoDate"),
        ("9999-12-31", "720h", "2026-12-01", "Unknown", "DateInFuture"),
        ("0001-01-01", "99999h99999h99999h99999h", "2026-12-01", "False", "Stale"),
        ("2026-12-02", "720h", "2026-12-01", "Unknown", "DateInFuture"),
        ("2026-12-02", "720h", "2026-12-01T11:00:00", "True", "Fresh"),  # It is that day already in New Zealand.
    ],
)
def test_fresh_goes_by_the_day_on_which_the_prices_were_read(
    build: Build, retrieved: str | None, stale_after: str | None, now: str, status: str, reason: str
) -> None:
    source = {"name": "price list", **({"retrieved": retrieved} if retrieved else {})}
    parsed = build.objects(build.raw("Pricing", source=source, staleAfter=stale_after)).parsed[build.key("Pricing")]
    assert isinstance(parsed, Pricing)
    found = findings.fresh(parsed, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert (found.status, found.reason) == (status, reason)


def test_a_day_that_does_not_exist_is_named(build: Build) -> None:
    source = {"name": "price list", "retrieved": "2026-02-30"}
    parsed = build.objects(build.raw("Pricing", source=source)).parsed[build.key("Pricing")]
    assert isinstance(parsed, Pricing)
    assert "spec.source.retrieved, 2026-02-30, is no date; correct it" in findings.fresh(parsed, NOW).message


def test_what_has_no_effect_is_told_with_every_message_and_the_first_reason() -> None:
    notes = (no_effect("FieldWithoutEffect", "no request goes there"), no_effect("NotAPattern", "list the models"))
    found = findings.effective(ObjectFindings(notes=notes))
    assert found == ("Effective", "False", "FieldWithoutEffect", "no request goes there; list the models")
    assert findings.effective(FINE)[1:3] == ("True", "Effective")
    assert findings.effective(INVALID)[1:3] == ("Unknown", "NotAccepted")


def test_an_object_that_is_not_valid_has_unknown_freshness() -> None:
    assert findings.fresh(None, NOW).reason == "NotAccepted"


# The status that findings make.


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(each for each in status["conditions"] if each["type"] == kind)


def test_a_first_status_says_everything() -> None:
    status = desired_status({}, [ACCEPTED, Finding("Healthy", "True", "TrafficOK", "ok")], 3, NOW)
    assert status == {
        "observedGeneration": 3,
        "conditions": [
            {
                "type": "Accepted",
                "status": "True",
                "observedGeneration": 3,
                "lastTransitionTime": "2026-12-01T12:00:00Z",
                "reason": "Accepted",
                "message": "it is used",
            },
            {
                "type": "Healthy",
                "status": "True",
                "observedGeneration": 3,
                "lastTransitionTime": "2026-12-01T12:00:00Z",
                "reason": "TrafficOK",
                "message": "ok",
            },
        ],
    }


OK = ProviderHealth("Up", Finding("Healthy", "True", "TrafficOK", "ok"))
NO_MODELS = ProviderHealth(
    "Degraded",
    Finding("Healthy", "False", "ModelNotFound", "no"),
    (ModelHealth("flash", "Up", "TrafficOK"), ModelHealth("pro", "Down", "ModelNotFound")),
)


def test_the_time_of_a_verdict_moves_with_it_for_each_model_and_for_the_provider() -> None:
    first = desired_health({}, OK, NOW)
    assert first == {"verdict": "Up", "reason": "TrafficOK", "since": "2026-12-01T12:00:00Z", "models": None}
    second = desired_health({"health": first}, NO_MODELS, LATER)
    assert [second["since"], *(each["since"] for each in second["models"])] == ["2026-12-01T12:05:00Z"] * 3
    limited = (NO_MODELS.models[0], ModelHealth("pro", "Limited", "OverLimit"))
    third = desired_health({"health": second}, replace(NO_MODELS, models=limited), LATER + timedelta(minutes=5))
    assert third["since"] == "2026-12-01T12:05:00Z"
    assert third["models"] == [
        {"name": "flash", "verdict": "Up", "reason": "TrafficOK", "since": "2026-12-01T12:05:00Z"},
        {"name": "pro", "verdict": "Limited", "reason": "OverLimit", "since": "2026-12-01T12:10:00Z"},
    ]


@pytest.mark.parametrize("health", [OK, NO_MODELS])
def test_equal_health_needs_no_write(health: ProviderHealth) -> None:
    once = desired_health({}, health, NOW)
    stored = {"health": {name: value for name, value in once.items() if value is not None}}
    assert difference(stored, {"health": desired_health(stored, health, LATER)}) == {}


def test_models_that_are_as_the_provider_again_are_taken_out() -> None:
    stored = {"health": desired_health({}, NO_MODELS, NOW)}
    assert difference(stored, {"health": desired_health(stored, OK, LATER)})["health"]["models"] is None


def test_drained_is_gone_once_the_provider_drains_no_more() -> None:
    left = Finding("Drained", "False", "ConversationsLeft", "12")
    status = desired_status({}, [ACCEPTED, left], 1, NOW)
    assert [each["type"] for each in status["conditions"]] == ["Accepted", "Drained"]
    assert [each["type"] for each in desired_status(status, [ACCEPTED], 2, NOW)["conditions"]] == ["Accepted"]


def test_the_transition_time_moves_with_the_status_and_not_with_the_reason_or_the_generation() -> None:
    pending = Finding("Programmed", "False", "Pending", "1 of 2")
    first = desired_status({}, [pending], 1, NOW)
    second = desired_status(first, [Finding("Programmed", "False", "Rejected", "no")], 2, LATER)
    assert condition(second, "Programmed")["lastTransitionTime"] == "2026-12-01T12:00:00Z"
    assert (condition(second, "Programmed")["reason"], condition(second, "Programmed")["observedGeneration"]) == (
        "Rejected",
        2,
    )
    third = desired_status(second, [Finding("Programmed", "True", "Programmed", "all")], 2, LATER)
    assert condition(third, "Programmed")["lastTransitionTime"] == "2026-12-01T12:05:00Z"


def test_conditions_of_others_stay_where_and_as_they_are() -> None:
    audited = {"type": "example.com/Audited", "status": "True", "reason": "Looked", "message": "by Bob"}
    status = desired_status({"conditions": [audited]}, [ACCEPTED], 1, NOW)
    assert status["conditions"][0] == audited
    assert [each["type"] for each in status["conditions"]] == ["example.com/Audited", "Accepted"]


def test_a_field_of_another_part_is_not_touched_and_one_that_is_gone_is_taken_out() -> None:
    current = {"cache": {"hitPercent": 93}, "price": {"retrieved": "2026-11-20T00:00:00Z"}, "health": {"latency": "1s"}}
    wanted = {"health": desired_health(current, OK, NOW), "price": None}
    patch = difference(current, desired_status(current, [ACCEPTED], 1, NOW) | wanted)
    assert "cache" not in patch
    assert patch["price"] is None
    assert patch["health"]["verdict"] == "Up"


TRUTHS = st.sampled_from(["True", "False", "Unknown"])
FINDINGS = st.builds(Finding, st.sampled_from(["Accepted", "Programmed", "Healthy"]), TRUTHS, st.just("X"), st.text())


@given(st.lists(FINDINGS, unique_by=lambda finding: finding.type), st.integers(1, 9))
def test_equal_findings_need_no_write(found: list[Finding], generation: int) -> None:
    once = desired_status({}, found, generation, NOW)
    stored = {name: value for name, value in once.items() if value is not None}
    again = desired_status(stored, found, generation, LATER)
    assert difference(stored, again) == {}
    assert without_history(again) == without_history(once)


def test_messages_of_any_length_fit() -> None:
    status = desired_status({}, [Finding("Programmed", "False", "Rejected", "x" * 100_000)], 1, NOW)
    assert len(condition(status, "Programmed")["message"]) == 2000


# Findings that merely know less.


@dataclass(frozen=True)
class Step:
    """A condition as it stands, a finding, and whether the condition stays for now."""

    status: str
    reason: str
    generation: int
    finding: Finding
    stays: bool


PENDING = Finding("Programmed", "False", "Pending", "0 of 1")
NOBODY = Finding("Programmed", "False", "NoGateway", "none")
SILENT = Finding("Healthy", "Unknown", "NoTraffic", "none")


@pytest.mark.parametrize(
    "step",
    [
        Step("True", "Programmed", 1, PENDING, True),
        Step("True", "Programmed", 1, NOBODY, True),
        Step("True", "Programmed", 2, PENDING, False),
        Step("False", "Rejected", 1, PENDING, False),
        Step("True", "Programmed", 1, Finding("Programmed", "False", "Rejected", "no"), False),
        Step("False", "Failing", 1, SILENT, True),
        Step("True", "TrafficOK", 1, SILENT, True),
        Step("Unknown", "NotProgrammed", 1, SILENT, False),
    ],
)
def test_a_condition_stays_while_only_less_is_known_of_the_same_spec(step: Step) -> None:
    before = Finding(step.finding.type, step.status, step.reason, "as it was")  # type: ignore[arg-type]
    current = desired_status({}, [before], step.generation, NOW)
    assert steady(current, step.finding, 1) is step.stays
    assert as_before(current, step.finding) == before
    assert not steady({}, step.finding, 1)


# Transitions that concern a person.


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        (None, ("Accepted", "True", "Accepted"), None),
        (None, ("Accepted", "False", "Invalid"), "bad"),
        (("Accepted", "True", "Accepted"), ("Accepted", "False", "Invalid"), "bad"),
        (("Accepted", "False", "Invalid"), ("Accepted", "True", "Accepted"), "good"),
        (("ResolvedRefs", "False", "SecretNotFound"), ("ResolvedRefs", "False", "SecretNotFound"), None),
        (("ResolvedRefs", "False", "SecretNotFound"), ("ResolvedRefs", "False", "SecretKeyNotFound"), "bad"),
        (("ResolvedRefs", "False", "SecretNotFound"), ("ResolvedRefs", "Unknown", "Invalid"), None),
        (("Programmed", "True", "Programmed"), ("Programmed", "False", "Pending"), None),
        (("Programmed", "False", "Pending"), ("Programmed", "True", "Programmed"), None),
        (("Programmed", "False", "Pending"), ("Programmed", "False", "Rejected"), "bad"),
        (("Programmed", "False", "Rejected"), ("Programmed", "True", "Programmed"), "good"),
        (("Healthy", "Unknown", "NoTraffic"), ("Healthy", "True", "TrafficOK"), None),
        (("Healthy", "True", "TrafficOK"), ("Healthy", "False", "Failing"), "bad"),
        (("Healthy", "False", "Failing"), ("Healthy", "True", "TrafficOK"), "good"),
        (("Healthy", "True", "TrafficOK"), ("Healthy", "False", "SlowFirstByte"), "bad"),
        (("Healthy", "False", "Failing"), ("Healthy", "False", "TimeoutTooShort"), "bad"),
        (None, ("Meshed", "Unknown", "Pending"), None),
        (("Meshed", "True", "Meshed"), ("Meshed", "False", "Conflicted"), "bad"),
        (("Meshed", "False", "Conflicted"), ("Meshed", "True", "Meshed"), "good"),
        (None, ("Drained", "False", "ConversationsLeft"), None),
        (("Drained", "False", "ConversationsLeft"), ("Drained", "True", "Drained"), "good"),
        (None, ("Probing", "True", "Probing"), None),
        (("Probing", "True", "Probing"), ("Probing", "Unknown", "NoGateway"), None),
    ],
)
def test_transitions_that_are_told(
    before: tuple[Any, Any, Any] | None, after: tuple[Any, Any, Any], kind: str | None
) -> None:
    old = desired_status({}, [Finding(*before, "before")] if before else [], 1, NOW)
    new = desired_status(old, [Finding(*after, "before" if before == after else "after")], 1, LATER)
    kinds = ["bad" if bad else "good" for _, bad in transitions(old, new)]
    assert kinds == ([kind] if kind else [])


# One vocabulary.


def explained() -> dict[str, set[str]]:
    """The page's words by the condition they stand under."""
    page = (ROOT / "docs" / "conditions.md").read_text()
    sections = re.split(r"^## (\w+) \(.*\)$", page, flags=re.MULTILINE)[1:]
    return {
        title: set(re.findall(r"^\| `(\w+)` \|", body, re.MULTILINE))
        for title, body in zip(sections[::2], sections[1::2], strict=True)
    }


REASONS = {kind: set(get_args(getattr(finding, f"{kind}Reason"))) for kind in get_args(finding.ConditionType)}


def test_every_reason_is_explained_and_no_other() -> None:
    assert explained() == REASONS


def test_no_reason_is_listed_that_is_never_given() -> None:
    given = "".join(
        path.read_text() for room in ("planning", "status", "upkeep") for path in (OPERATOR / room).glob("*.py")
    )
    assert [reason for reason in set().union(*REASONS.values()) if given.count(f'"{reason}"') < 2] == []
