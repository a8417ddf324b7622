"""The Lua and Python of both planes write an error of Anthropic's API alike, and any text may stand in it."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lupa.luajit21 import LuaRuntime

from limpet_extproc.contract.error_types import anthropic_type
from limpet_operator.publish.error_shape import anthropic_error, openai_error
from limpet_operator.publish.lua import program

_LUA = LuaRuntime(unpack_returned_tuples=True, encoding="latin-1")
_HALVES, _QUOTABLE, _SPEAKS = _LUA.execute(
    program("asked.lua", "error_shape.lua", then="return error_halves, quotable, speaks_anthropic")
)


@pytest.mark.parametrize("status", range(400, 600))
def test_the_type_of_an_error_follows_from_its_status_in_both_languages(status: int) -> None:
    head, tail = _HALVES(True, str(status), "server_error", "x", None)
    assert json.loads(f"{head}why{tail}") == anthropic_error("why", status)
    assert anthropic_type(status) in head


def test_openais_errors_are_the_same_too() -> None:
    head, tail = _HALVES(False, "404", "invalid_request_error", "model_not_found", None)
    assert json.loads(f"{head}why{tail}") == openai_error("why", "invalid_request_error", "model_not_found")
    head, tail = _HALVES(False, "404", "invalid_request_error", "model_not_found", "model")
    assert json.loads(f"{head}why{tail}")["error"]["param"] == "model"


@given(st.text(st.characters(max_codepoint=255)), st.booleans())
def test_whatever_a_client_sent_may_be_told_back(text: str, anthropic: bool) -> None:
    head, tail = _HALVES(anthropic, "404", "a", "b", None)
    assert json.loads(head + _QUOTABLE(text) + tail)["error"]["message"].count("?") >= text.count("?")


@pytest.mark.parametrize(
    ("path", "version", "anthropic"),
    [
        ("/messages", None, True),
        ("/messages/batches", None, True),
        ("/messagesx", None, False),
        ("/chat/completions", "2023-06-01", False),
        ("/responses/resp_1", "2023-06-01", False),
        ("/models", "2023-06-01", True),
        ("/models", None, False),
        ("/nothing", "2023-06-01", True),
    ],
)
def test_whose_api_a_client_speaks_is_told_by_path_then_by_header(
    path: str, version: str | None, anthropic: bool
) -> None:
    assert _SPEAKS(path, version) is anthropic
