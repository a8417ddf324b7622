"""The rules by which an error's words are read, and the causes that they name."""

import re
from typing import Any, get_args

import pytest

from limpet_extproc.contract.attempt import CAUSES, AttemptOutcome
from limpet_operator.publish.error_rules import RULES, lua_rules
from limpet_operator.publish.lua import program
from limpet_operator.resources.vendors import load_vendors

RULES_LUA = lua_rules()
CAUSES_LUA = program("causes.lua")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["find"])
def test_a_rule_has_a_cause_that_everybody_knows_and_words_that_can_be_found(rule: dict[str, Any]) -> None:
    assert rule["cause"] in CAUSES
    assert rule["find"] == rule["find"].lower().strip()
    assert all(status == 200 or 400 <= status < 600 for status in rule["status"])
    assert set(rule.get("vendors", ())) <= set(load_vendors())


def test_the_lua_has_every_rule_in_its_order() -> None:
    finds = re.findall(r'^  \{ status = "[\d ]+", find = "([^"]+)"', RULES_LUA, re.MULTILINE)
    assert finds == [rule["find"] for rule in RULES]
    assert '["DeepSeek"] = true' in next(line for line in RULES_LUA.splitlines() if "invalid model" in line)


def test_what_follows_from_a_cause_is_known_for_each_that_an_answer_can_have() -> None:
    without_an_answer = {"", "ConnectionFailed", "ConnectionRefused", "NameNotResolved", "TLSFailed"}
    of_no_single_attempt = {"BrokenOff", "ErrorRate", "SlowFirstByte", "SlowStream"}
    follows = set(re.findall(r"^  ([A-Z][A-Za-z]+) = \{ outcome", CAUSES_LUA, re.MULTILINE))
    assert follows == CAUSES - without_an_answer - of_no_single_attempt
    statuses = CAUSES_LUA[CAUSES_LUA.index("local BY_STATUS") : CAUSES_LUA.index("local function cause_of")]
    assert set(re.findall(r'"([A-Z][A-Za-z]+)"', statuses)) <= follows
    assert set(re.findall(r'outcome = "(\w+)"', CAUSES_LUA)) <= set(get_args(AttemptOutcome))
