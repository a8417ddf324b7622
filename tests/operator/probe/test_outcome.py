"""What an answer to a probe comes to: up, and when it is not, why."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_extproc.contract.attempt import CAUSES, MAX_MESSAGE_CHARS
from limpet_extproc.contract.health_stream import MAX_ANSWER_BYTES, VERDICTS, ProbeAnswer
from limpet_operator.probe.outcome import Outcome, outcome
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.problem import Invalid
from limpet_operator.resources.provider import Provider

_PARSER = Parser.load()
COMPLETION: dict[str, Any] = {"http": None, "completion": {"model": "flash"}}
DONE = json.dumps({"choices": [{"message": {"role": "assistant", "content": ""}, "finish_reason": "length"}]})


def provider(vendor: str = "DeepSeek") -> Provider:
    parsed = _PARSER.parse(Build.raw("Provider", vendor=vendor))
    assert isinstance(parsed, Provider)
    return parsed


def probe(**spec: Any) -> HealthProbe:
    parsed = _PARSER.parse(Build.raw("HealthProbe", **spec))
    assert isinstance(parsed, HealthProbe), parsed.problems if isinstance(parsed, Invalid) else parsed
    return parsed


def judge(status: int, body: str = "", kind: str = "application/json", **spec: Any) -> Outcome:
    answer = ProbeAnswer(1, status=status, content_type=kind, body=body, seconds=0.1)
    return outcome(answer, probe(**spec), provider())


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (200, '{"object": "list", "data": []}', "application/json"),
        (200, '[{"id": "m"}]', "application/json"),
        (204, "", ""),
        (200, "", ""),
        (200, "ok\n", "text/plain"),
        (200, '{"data": [], "error": null}', "application/json"),
        (200, '{"data": [], "error": {"code": null, "message": ""}}', "application/json"),
        (200, '{"data": ["<html>"]}', "text/html"),
        (200, '{"data": [' + '{"id": "model", "error": "no"},' * 4000, "application/json"),
        (200, '[{"id": "m", "error": "no longer served"}, {"id": "n"}]', "application/json"),
        (200, '{"success": true, "errors": []}', "application/json"),
        (200, '\ufeff{"data": []}', "text/html"),
        (200, "<!-- " * 10, "text/plain"),
    ],
    ids=[
        "list",
        "array",
        "no content",
        "empty",
        "words",
        "null error",
        "empty error",
        "JSON as HTML",
        "cut off",
        "an entry's error",
        "success",
        "JSON after a BOM",
        "a comment without end",
    ],
)
def test_a_provider_that_answers_as_expected_is_up(status: int, body: str, kind: str) -> None:
    assert judge(status, body[:MAX_ANSWER_BYTES], kind) == Outcome("Up", status=status)


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (401, '{"error": {"message": "Wrong key sk-abcdefgh"}}', ("Down", "CredentialRefused", "Wrong key [key]")),
        (402, '{"error": "pay"}', ("Down", "NoCredit", "pay")),
        (403, '{"detail": "no"}', ("Down", "Forbidden", "no")),
        (403, '{"error": {"code": "invalid_api_key", "message": "bad"}}', ("Down", "CredentialRefused", "bad")),
        (400, '{"error": {"message": "API key not valid."}}', ("Down", "CredentialRefused", "API key not valid.")),
        (429, '{"error": {"message": "slow down"}}', ("Limited", "Limited", "slow down")),
        (429, '{"error": {"code": "insufficient_quota"}}', ("Down", "NoCredit", None)),
        (529, '{"error": {"type": "overloaded_error", "message": "busy"}}', ("Limited", "Overloaded", "busy")),
        (503, "", ("Down", "ServerError", "")),
        (500, "oops", ("Down", "ServerError", "oops")),
        (301, "", ("Down", "Redirected", "")),
        (307, "", ("Down", "Redirected", "")),
    ],
)
def test_what_is_not_expected_has_a_cause_and_the_vendors_words(
    status: int, body: str, expected: tuple[str, str, str | None]
) -> None:
    found = judge(status, body)
    assert (found.level, found.cause, found.status) == (*expected[:2], status)
    assert expected[2] is None or found.message == expected[2]


@pytest.mark.parametrize(
    ("body", "kind", "cause"),
    [
        ("<html><title>Sign in</title>", "text/html; charset=utf-8", "NotAnAnswer"),
        ("\n<!DOCTYPE html><p>", "", "NotAnAnswer"),
        ("\ufeff<html>", "", "NotAnAnswer"),
        ('<?xml version="1.0"?>\n<!DOCTYPE html>', "", "NotAnAnswer"),
        ("<!-- generated\n--><!-- twice -->\n<html>", "", "NotAnAnswer"),
        ('{"error": {"message": "no such account"}}', "application/json", "ErrorInAnswer"),
        ('{"error": "maintenance"}', "application/json", "ErrorInAnswer"),
        ('\ufeff{"error": "maintenance"}', "application/json", "ErrorInAnswer"),
        ('[{"error": {"code": 400, "message": "no such account"}}]', "application/json", "ErrorInAnswer"),
        ('{"object": "error", "message": "no such account"}', "application/json", "ErrorInAnswer"),
        ('{"success": false, "errors": [{"message": "no such account"}]}', "application/json", "ErrorInAnswer"),
    ],
)
@pytest.mark.parametrize("spec", [{}, COMPLETION], ids=["http", "completion"])
def test_a_success_that_is_none_is_not_up(body: str, kind: str, cause: str, spec: dict[str, Any]) -> None:
    found = judge(200, body, kind, **spec)
    assert (found.level, found.cause) == ("Down", cause)


@pytest.mark.parametrize("piece", ["<!---->", "<?xml?>", " ", "<!-- ", "\ufeff"])
def test_a_page_that_is_made_to_be_hard_to_recognise_is_not(piece: str) -> None:
    body = (piece * MAX_ANSWER_BYTES)[:MAX_ANSWER_BYTES]
    assert judge(200, body, "").level == "Up"


@pytest.mark.parametrize("status", [400, 404, 405, 410, 418, 422])
def test_an_error_of_the_path_is_the_probes_and_not_the_providers(status: int) -> None:
    found = judge(status, "Not Found")
    assert found == Outcome(None, "UnusableStatus", status, "Not Found")
    assert found.blames_probe


def test_another_success_than_the_expected_one_is_not_up() -> None:
    found = judge(204, http={"path": "/models", "expectedStatuses": ["200"]})
    assert (found.level, found.cause) == ("Down", "UnusableStatus")


def test_what_the_probe_expects_is_up_except_a_redirect() -> None:
    wide: dict[str, Any] = {"http": {"path": "/models", "expectedStatuses": ["200", "401", "404", "429", "500"]}}
    assert [judge(status, **wide).level for status in (200, 401, 404, 429, 500)] == ["Up"] * 5
    assert judge(201, **wide).cause == "UnusableStatus"


@pytest.mark.parametrize(
    ("status", "body", "level", "cause"),
    [
        (200, DONE, "Up", ""),
        (201, DONE, "Up", ""),
        (200, '{"choices": []}', "Down", "NotAnAnswer"),
        (200, '{"object": "list", "data": []}', "Down", "NotAnAnswer"),
        (200, "", "Down", "NotAnAnswer"),
        (200, '{"choices": [{"finish_reason": "error"}]}', "Down", "ErrorInAnswer"),
        (200, '{"choices": [{"error": {"message": "upstream"}}]}', "Down", "ErrorInAnswer"),
        (202, DONE, "Down", "NotAnAnswer"),
        (404, '{"error": {"message": "no such model"}}', "Down", "ModelNotFound"),
        (404, '{"error": {"message": "nothing of that name"}}', "Down", "ModelNotFound"),
        (404, "", "Down", "PathNotFound"),
        (429, "", "Limited", "Limited"),
        (400, '{"error": {"message": "max_tokens is too low"}}', None, "BadRequest"),
        (422, "", None, "BadRequest"),
        (413, "", None, "TooLarge"),
    ],
)
def test_a_completion_is_up_only_with_a_completion(status: int, body: str, level: str | None, cause: str) -> None:
    found = judge(status, body, **COMPLETION)
    assert (found.level, found.cause) == (level, cause)
    assert not found.not_sent


def test_a_vendors_own_words_are_read_by_its_own_rules() -> None:
    answer = ProbeAnswer(1, status=400, body='{"error": {"message": "Invalid model"}}')
    causes = {vendor: outcome(answer, probe(**COMPLETION), provider(vendor)).cause for vendor in ("DeepSeek", "OpenAI")}
    assert causes == {"DeepSeek": "ModelNotFound", "OpenAI": "BadRequest"}


def test_a_slow_answer_is_degraded_and_says_how_slow() -> None:
    limits = {"thresholds": {"degradedAfter": "2s"}}
    slow = ProbeAnswer(1, status=200, body="{}", seconds=2.44)
    assert outcome(slow, probe(**limits), provider()) == Outcome(
        "Degraded", "SlowFirstByte", 200, "slower than the probe's degradedAfter (2 s)"
    )
    assert outcome(slow, probe(), provider()).level == "Up"
    failed = ProbeAnswer(1, status=500, seconds=9.0)
    assert outcome(failed, probe(**limits), provider()).level == "Down"


def test_without_an_answer_the_cause_is_envoys_and_without_a_request_there_is_none() -> None:
    refused = ProbeAnswer(1, failure="UF 10.0.0.1:443 {delayed_connect_error:_Connection_refused} -")
    assert outcome(refused, probe(), provider())[:2] == ("Down", "ConnectionRefused")
    unknown = outcome(ProbeAnswer(1, failure="NC - cluster_not_found -"), probe(), provider())
    assert unknown == Outcome(None, not_sent="this gateway does not have the provider yet")


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Outcome("Down", "ServerError", 500, "request 2"), True),
        (Outcome("Down", "ServerError", 502, "request 1"), False),
        (Outcome("Down", "NotAnAnswer", 500, "request 1"), False),
        (Outcome("Limited", "ServerError", 500, "request 1"), False),
    ],
    ids=["words", "status", "cause", "level"],
)
def test_outcomes_that_differ_by_their_words_say_the_same(other: Outcome, same: bool) -> None:
    assert Outcome("Down", "ServerError", 500, "request 1").says_the_same_as(other) == same


ANSWERS = st.builds(
    ProbeAnswer,
    st.just(1),
    status=st.integers(0, 999),
    content_type=st.sampled_from(["", "text/html", "application/json"]),
    body=st.text(max_size=400)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["error", "choices", "message", "x"]), inner),
        max_leaves=8,
    ).map(json.dumps),
    failure=st.just("") | st.text(),
    seconds=st.floats(0, 100),
)


@given(ANSWERS, st.sampled_from([{}, COMPLETION]))
def test_whatever_comes_back_has_an_outcome_in_known_words(answer: ProbeAnswer, spec: dict[str, Any]) -> None:
    found = outcome(answer, probe(**spec), provider())
    assert found.level in (None, *VERDICTS)
    assert found.cause in CAUSES
    assert (found.level == "Up") == (found.cause == "" and found.level is not None)
    assert len(found.message) <= MAX_MESSAGE_CHARS
    assert "\n" not in found.message
    assert not (found.level == "Down" and answer.status in (429, 529) and found.cause == "Limited")


@given(st.text(alphabet="sk-AIza09 .", max_size=600), st.integers(0, 300))
def test_no_key_is_shown_whole_or_in_part(before: str, cut: int) -> None:
    key = "sk-proj-" + "Zq7w" * 20
    body = json.dumps({"error": {"message": f"{before[:cut]} {key} is refused"}})
    assert "Zq7w" not in judge(401, body).message


def test_the_providers_own_key_is_never_shown_whatever_it_looks_like() -> None:
    body = "correct horse is no key; nor is correct%20horse"
    found = outcome(ProbeAnswer(1, status=401, body=body), probe(), provider(), ["correct horse"])
    assert found.message == "[key] is no key; nor is [key]"


@given(st.text(max_size=300))
def test_a_message_is_one_line_that_can_be_printed(words: str) -> None:
    shown = judge(500, json.dumps({"error": {"message": words}})).message
    assert shown.isprintable()
    failed = outcome(ProbeAnswer(1, failure=f"UF 10.0.0.1:443 {{{words}}} -"), probe(), provider())
    assert (failed.message + failed.not_sent).isprintable()
