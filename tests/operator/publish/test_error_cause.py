"""Python reads errors as the Lua does; tests/envoy/test_error_causes.py asks both."""

import json
import re
from typing import Any, Final

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
    whole = f'{{"error": {{"code": "{words}"}}}}'
    for text in (whole,) if rule.get("whole") else (whole, f'{{"error": {{"message": "So: {words}."}}}}', words):
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


MODEL: Final = {
    "OpenAI": {"error": {"message": "The model `m` does not exist", "param": None, "code": "model_not_found"}},
    "code alone": {"error": {"message": "Gone.", "code": "model_not_found"}},
    "Azure": {
        "error": {"code": "DeploymentNotFound", "message": "The API deployment for this resource does not exist."}
    },
    "Anthropic": {"type": "error", "error": {"type": "not_found_error", "message": "model: m"}},
    "vLLM": {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404},
    "llama.cpp": {"error": {"code": 404, "message": "model 'm' not found", "type": "not_found_error"}},
    "Ollama": {"error": {"message": 'model "m" not found, try pulling it first', "type": "api_error"}},
    "Gemini": [{"error": {"code": 404, "message": "models/m is not found for API version v1main"}}],
    "Moonshot": {
        "error": {"message": "Not found the model m or Permission denied", "type": "resource_not_found_error"}
    },
}
PATH: Final = {
    "Anthropic": {"type": "error", "error": {"type": "not_found_error", "message": "Not Found"}},
    "FastAPI": {"detail": "Not Found"},
    "Spring": {"status": 404, "error": "Not Found", "path": "/v1/messages"},
    "OpenAI": {"error": {"message": "Invalid URL (POST /v1/messages)", "type": "invalid_request_error", "code": None}},
    "Groq": {"error": {"message": "Unknown request URL: POST /v1/x. Please check", "code": "unknown_url"}},
    "named": {"error": {"message": "Not Found: POST /v1/messages"}},
    "empty": "",
    "plain": "404 page not found",
    "page": "<html><h1>404 Not Found</h1> which model?</html>",
}
THING: Final = {
    "a conversation": {"error": {"message": "Conversation with id 'conv_zz' not found.", "code": None}},
    "a response": {"error": {"message": "Response with id 'resp_1' not found.", "type": "invalid_request_error"}},
    "an item": {"error": {"message": "Item with id 'msg_1' not found. Items are kept if `store` is true."}},
    "a file": {"error": {"message": "No such File object: file-1", "param": "id"}},
    "Anthropic's file": {"type": "error", "error": {"type": "not_found_error", "message": "File not found: file_1"}},
    "one that quotes": {"error": {"message": "Nothing with id 'the model' not found: post"}},
    "no words": {},
}
NOT_FOUND: Final = [
    pytest.param(text if isinstance(text, str) else json.dumps(text), cause, id=f"{cause} {name}")
    for cause, texts in (("ModelNotFound", MODEL), ("PathNotFound", PATH), ("NotFound", THING))
    for name, text in texts.items()
]


@pytest.mark.parametrize(("text", "cause"), NOT_FOUND)
def test_a_404_says_what_was_not_found(text: str, cause: str) -> None:
    assert error_cause("Custom", 404, text) == cause


def test_some_vendors_words_mean_a_path_there_alone() -> None:
    gone, file = '{"error": {"message": "Resource not found"}}', '{"error": {"message": "File Not Found"}}'
    assert {v: error_cause(v, 404, gone) for v in ("AzureOpenAI", "OpenAI")} == {
        "AzureOpenAI": "PathNotFound",
        "OpenAI": "NotFound",
    }
    assert {v: error_cause(v, 404, file) for v in ("LlamaCpp", "OpenAI")} == {
        "LlamaCpp": "PathNotFound",
        "OpenAI": "NotFound",
    }


@given(st.integers(100, 999), st.text(max_size=200), st.sampled_from(sorted(load_vendors())))
def test_every_answer_has_a_known_cause(status: int, text: str, vendor: str) -> None:
    assert error_cause(vendor, status, text) in CAUSES
