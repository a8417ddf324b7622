"""The line that a person reads with `--verbose`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from limpet_extproc.contract.apis import ApiKind
from limpet_extproc.contract.attempt import Attempt
from limpet_extproc.contract.record import Record
from limpet_extproc.decision.cause import CacheFinding
from limpet_extproc.envoy.decision_line import RequestSummary, decision_line
from limpet_extproc.envoy.usage import TokenUsage

RECORD = Record(
    bytes.fromhex("0123456789abcdef"), "flash", "x", "sticky.hit", None, ("a", "b", "c"), (1, 1, 1), 0.0, 10, 4, True
)
OK = Attempt("a", "flash", 200, "ok")
NO_KEY = Attempt("a", "flash", 401, "failed", "CredentialRefused", "says something")
NO_ANSWER = Attempt("a", "flash", 0, "failed", "ConnectionFailed")
BROKEN_OFF = Attempt("a", "flash", 200, "failed", "BrokenOff")
BAD = Attempt("a", "flash", 400, "refused", "BadRequest", "messages[0] is 'tell nobody'")
LEFT = Attempt("a", "flash", 0, "client_left")
B = Attempt("b", "flash", 200, "ok")


@pytest.mark.parametrize(
    ("attempts", "status", "usage", "line"),
    [
        ([OK], 200, TokenUsage(5000, 4096, 3), "sticky.hit  a 200  4096 of 5000 tokens cached"),
        ([OK], 200, TokenUsage(5000, None, 3), "sticky.hit  a 200  5000 tokens, cache unreported"),
        ([OK], 200, TokenUsage(5000, 0, 3, 4096), "sticky.hit  a 200  0 of 5000 tokens cached, 4096 written"),
        ([OK], 200, None, "sticky.hit  a 200  usage unreported"),
        ([NO_KEY, B], 200, TokenUsage(5000, 0, 3), "sticky.hit  a 401 > b 200  0 of 5000 tokens cached"),
        ([NO_ANSWER, B], 200, None, "sticky.hit  a ConnectionFailed > b 200  usage unreported"),
        ([BROKEN_OFF], 200, None, "sticky.hit  a 200 BrokenOff"),
        ([NO_KEY], 503, None, "sticky.hit  a 401, so 503"),
        ([NO_ANSWER, NO_ANSWER], 503, None, "sticky.hit  a ConnectionFailed > a ConnectionFailed, so 503"),
        ([BAD], 400, None, "sticky.hit  a 400"),
        ([LEFT], 0, None, "sticky.hit  a until the client left"),
        ([], 0, None, "sticky.hit  no answer"),
    ],
)
def test_a_line_has_when_where_why_and_what_was_cached(
    attempts: list[Attempt], status: int, usage: TokenUsage | None, line: str
) -> None:
    summary = RequestSummary("sticky.hit", status, 1.5, RECORD, attempts, usage)
    assert decision_line(summary, "20:15:00") == f"20:15:00  01234567  flash  {line}  1.500 s"


@pytest.mark.parametrize(
    ("finding", "shown"),
    [
        (CacheFinding("hit"), "0 of 5000 tokens cached"),
        (CacheFinding("ttl_expired"), "0 of 5000 tokens cached: ttl_expired"),
        (CacheFinding("prefix_changed", "message 3"), "0 of 5000 tokens cached: prefix_changed(message 3)"),
    ],
)
def test_a_line_says_why_less_was_read_than_could_be(finding: CacheFinding, shown: str) -> None:
    summary = RequestSummary("sticky.hit", 200, 1.5, RECORD, [OK], TokenUsage(5000, 0, 3), finding=finding)
    assert decision_line(summary, "x").endswith(f"a 200  {shown}  1.500 s")


@pytest.mark.parametrize(
    ("api", "kind", "what"),
    [
        ("AnthropicMessages", "conversation", "01234567  flash by AnthropicMessages"),
        ("embeddings", "stateless", "embeddings  flash"),
        ("files", "object", "files  object"),
    ],
)
def test_a_line_names_another_api_than_chat(api: str, kind: ApiKind, what: str) -> None:
    record = replace(RECORD, api=api, kind=kind, model="" if kind == "object" else RECORD.model)
    usage = TokenUsage(5000, None, 3)
    line = decision_line(RequestSummary("first.scored", 200, 1.5, record, [OK], usage), "20:15:00")
    cached = "5000 tokens, cache unreported  " if kind == "conversation" else ""
    assert line == f"20:15:00  {what}  first.scored  a 200  {cached}1.500 s"
    bare = decision_line(RequestSummary("first.scored", 200, 1.5, record, [OK]), "20:15:00")
    assert ("usage unreported" in bare) == (kind == "conversation")


@pytest.mark.parametrize(
    ("reason", "why"), [("unsticky.below_minimum", "counting"), ("sticky.hit", "sticky.hit"), ("pinned.object",) * 2]
)
def test_a_count_of_tokens_has_no_part_in_a_cache(reason: str, why: str) -> None:
    record = replace(RECORD, api="AnthropicMessages", kind="counting")
    line = decision_line(RequestSummary(reason, 200, 1.5, record, [OK], TokenUsage(5, None, 0)), "20:15:00")
    assert line == f"20:15:00  01234567  flash by AnthropicMessages  {why}  a 200  1.500 s"


def test_a_refusal_names_its_model_and_field() -> None:
    refused = RequestSummary("refused.untranslatable", 400, 0.1, method="POST", path="/v1/x", field="n", model="m")
    assert decision_line(refused, "20:15:00") == "20:15:00  POST /v1/x m  refused.untranslatable (n)  400  0.100 s"


def test_one_that_was_tried_all_the_same_was_not_passed_over() -> None:
    record = replace(RECORD, excluded={"a": "over_limit", "b": "degraded"})
    line = decision_line(RequestSummary("last_resort.all_out", 502, 1.5, record, [NO_KEY]), "20:15:00")
    assert "a 401, so 502, without b (degraded)  " in line


@pytest.mark.parametrize(
    ("attempts", "left_out"),
    [([B], ""), ([NO_KEY, B], ""), ([OK], ", without b (draining)"), ([NO_KEY], ", without b (draining)")],
)
def test_a_provider_that_served_was_not_passed_over(attempts: list[Attempt], left_out: str) -> None:
    record = replace(RECORD, excluded={"b": "draining"})
    line = decision_line(RequestSummary("sticky.hit", attempts[-1].status, 1.5, record, attempts), "20:15:00")
    assert f"{attempts[-1].provider} {attempts[-1].status}{left_out}  " in line


@pytest.mark.parametrize(
    ("summary", "line"),
    [
        (
            RequestSummary("refused.unknown_path", 404, 0.001, method="GET", path="/v2/things?key=sk-secret"),
            "GET /v2/things  refused.unknown_path  404  0.001 s",
        ),
        (
            RequestSummary("refused.unknown_path", 404, 0.001, method="GET", path="/v2/sk-0123456789abcdef0123/x"),
            "GET /v2/[key]/x  refused.unknown_path  404  0.001 s",
        ),
        (
            RequestSummary("refused.bad_request", 400, 0.002, method="POST", path="/v1/chat/completions"),
            "POST /v1/chat/completions  refused.bad_request  400  0.002 s",
        ),
        (
            RequestSummary("fallback.undecided", 200, 1.0, attempts=[OK], method="POST", path="/v1/chat/completions"),
            "POST /v1/chat/completions  fallback.undecided  a 200  usage unreported  1.000 s",
        ),
        (RequestSummary("", 0, 0.0), "- -  -  no answer  0.000 s"),
    ],
)
def test_a_request_that_was_refused_or_not_decided_has_a_line_too(summary: RequestSummary, line: str) -> None:
    assert decision_line(summary, "20:15:00") == f"20:15:00  {line}"


def test_a_line_names_providers_passed_over_and_what_would_have_been() -> None:
    record = replace(RECORD, excluded={"d": "down", "e": "draining"}, enforce_reason="first.scored")
    line = decision_line(RequestSummary("observe.spread", 200, 0.0, record, [B]), "x")
    assert "  observe.spread (would be first.scored)  b 200, without d (down), without e (draining)  " in line


def test_a_conversation_that_goes_on_under_a_new_name_has_a_hint() -> None:
    line = decision_line(RequestSummary("first.scored", 200, 0.0, replace(RECORD, unrecognised=True), [B]), "x")
    assert line.endswith("has earlier turns but was not recognised; if this repeats, send x-session-id")


@given(st.text())
def test_no_path_can_write_to_a_terminal_or_fill_it(path: str) -> None:
    line = decision_line(RequestSummary("refused.unknown_path", 404, 0.0, method="GET", path=path), "x")
    assert line.isprintable()
    assert len(line) < 200
