"""Python reads errors as the Lua does; tests/envoy/test_error_causes.py asks both."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.attempt import CAUSES
from limpet_operator.publish.error_cause import BY_STATUS, OF_THE_REQUEST, error_cause
from limpet_operator.publish.error_rules import RULES
from limpet_operator.publish.lua import program
from limpet_operator.resources.vendors import load_vendors

CAUSES_LUA = program("causes.lua")


def test_both_have_the_same_causes_of_statuses() -> None:
    table = CAUSES_LUA[CAUSES_LUA.index("local BY_STATUS") : CAUSES_LUA.index("local function cause_of")]
    assert {int(status): cause for status, cause in re.findall(r'\["(\d+)"\] = "(\w+)"', table)} == BY_STATUS


def test_both_blame_the_request_for_the_same_causes() -> None:
    assert set(re.findall(r'^  (\w+) = \{ outcome = "refused"', CAUSES_LUA, re.MULTILINE)) == OF_THE_REQUEST


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["find"])
def test_each_rule_is_found_as_a_code_and_in_the_message(rule: dict[str, Any]) -> None:
    vendor = rule.get("vendors", ["Custom"])[0]
    words = rule["find"].upper()
    for text in (f'{{"error": {{"code": "{words}"}}}}', f'{{"error": {{"message": "So: {words}."}}}}', words):
        found = error_cause(vendor, rule["status"][0], text)
        first = next(each for each in RULES if each["find"] in rule["find"] and rule["status"][0] in each["status"])
        assert found == first["cause"]


@pytest.mark.parametrize(
    ("status", "text", "cause"),
    [
        (401, "", "CredentialRefused"),
        (302, "", "Redirected"),
        (204, "", "NotAnAnswer"),
        (599, "", "ServerError"),
        (418, "", "UnusableStatus"),
        (400, '{"error": {"message": "bad field: `invalid_api_key_x`"}}', "BadRequest"),
        (400, '{"error": {"message": "unknown field in {\\"x\\": \\"no credit\\"}"}}', "BadRequest"),
        (400, '{"error": {"message": "can\'t read \'no credit\'"}}', "BadRequest"),
        (400, '{"error": {"message": "you have no credit left"}}', "NoCredit"),
        (403, " <html>invalid api key</html>", "UnusableStatus"),
        (403, '{"error": {"message": "<html>"}}', "Forbidden"),
        (401, "<html>", "CredentialRefused"),
        (400, '{"x": "y", "detail": "it is a prompt is too long thing"}', "TooLarge"),
    ],
)
def test_words_that_a_request_may_hold_blame_no_provider(status: int, text: str, cause: str) -> None:
    assert error_cause("OpenAI", status, text) == cause


@given(st.integers(100, 999), st.text(max_size=200), st.sampled_from(sorted(load_vendors())))
def test_every_answer_has_a_known_cause(status: int, text: str, vendor: str) -> None:
    assert error_cause(vendor, status, text) in CAUSES
