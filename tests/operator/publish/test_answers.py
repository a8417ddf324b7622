"""The rules by which an error's words are read, and the causes that they name."""

import re

import pytest

from limpet_extproc.attempt import CAUSES
from limpet_operator.publish.answers import ANSWER_LUA, answer_rules
from limpet_operator.resources.vendors import load_vendors


@pytest.mark.parametrize("vendor", load_vendors())
def test_rules_have_causes_that_everybody_knows_and_words_that_can_be_found(vendor: str) -> None:
    rules = answer_rules(vendor)
    assert rules
    for rule in rules:
        assert rule["cause"] in CAUSES
        assert rule["find"] == rule["find"].lower().strip()
        assert re.fullmatch(r"\d{3}( \d{3})*", rule["status"])


def test_a_rule_of_one_vendor_is_no_other_vendors() -> None:
    finds = {vendor: {rule["find"] for rule in answer_rules(vendor)} for vendor in ("DeepSeek", "OpenAI")}
    assert "invalid model" in finds["DeepSeek"] - finds["OpenAI"]


def test_what_follows_from_a_cause_is_known_for_each_that_an_answer_can_have() -> None:
    without_an_answer = {"", "ConnectionFailed", "Timeout", "BrokenOff"}
    follows = set(re.findall(r"^  ([A-Z][A-Za-z]+) = \{ verdict", ANSWER_LUA, re.MULTILINE))
    assert follows == CAUSES - without_an_answer
