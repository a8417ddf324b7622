"""What the Lua reads of an answer's token usage, and what it adds for the client."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.envoy.vendor_answers import VENDOR_USAGES, VendorUsage, client_sees, last_usage
from tests.operator.publish.lua_world import LuaWorld, Reply

from limpet_extproc.contract import envoy
from limpet_operator.publish.usage_fields import FIELDS, places
from limpet_operator.resources.vendors import load_vendors

_SSE = {"content-type": "text/event-stream"}
_JSON = {"content-type": "application/json"}
_ASKED = {"prompt", "cached", "written"}
"""What clients find in the usage."""


_LUA = LuaWorld()


@pytest.fixture
def lua() -> LuaWorld:
    return _LUA


def test_each_field_has_its_source_and_is_one_that_is_noted() -> None:
    noted = {value for name, value in vars(envoy).items() if name.startswith("USAGE_")}
    assert set(FIELDS) <= noted
    assert all(field["source"] and places(field) for fields in FIELDS.values() for field in fields)


def test_every_vendor_is_among_the_answers() -> None:
    assert {each.vendor for each in VENDOR_USAGES} == set(load_vendors())


@pytest.mark.parametrize("case", VENDOR_USAGES, ids=str)
@pytest.mark.parametrize("split", [0, 1, 7, 60], ids=lambda split: f"pieces-of-{split or 'all'}")
def test_a_stream_of_each_vendor_has_the_same_numbers(lua: LuaWorld, case: VendorUsage, split: int) -> None:
    events = case.events()
    sent = b"".join(events)
    chunks = [sent[at : at + split] for at in range(0, len(sent), split)] if split else events
    got = lua.answer(Reply([*chunks, b""], headers=_SSE), decision={"api": case.api, "model": "m"})
    assert got.usage == case.tokens
    if case.api != "AnthropicMessages":
        seen = client_sees(last_usage(got.body))
        assert seen == {name: number for name, number in case.tokens.items() if name in _ASKED}
    _only_added(got.body, sent)


@pytest.mark.parametrize("case", [each for each in VENDOR_USAGES if each.comes_whole], ids=str)
@pytest.mark.parametrize("pieces", [1, 2, 5], ids=lambda pieces: f"{pieces}-pieces")
def test_a_whole_answer_of_each_vendor_has_the_same_numbers(lua: LuaWorld, case: VendorUsage, pieces: int) -> None:
    sent = json.dumps(case.whole(), indent=1).encode()
    size = -(-len(sent) // pieces)
    chunks = [sent[at : at + size] for at in range(0, len(sent), size)]
    got = lua.answer(Reply(chunks, headers=_JSON), decision={"api": case.api, "model": "m"})
    assert got.usage == case.tokens
    if case.api != "AnthropicMessages":
        seen = client_sees(json.loads(got.body)["usage"])
        assert seen == {name: number for name, number in case.tokens.items() if name in _ASKED}
    assert got.headers.get("content-length") in (None, str(len(got.body)))
    _only_added(got.body, sent)


def _only_added(got: bytes, sent: bytes) -> None:
    """Whether all that was sent is there in its order."""
    rest = iter(got)
    assert all(byte in rest for byte in sent.replace(b'"usage":null', b"").replace(b"null", b""))


ODD: dict[str, tuple[dict[str, Any], dict[str, int] | None]] = {
    "less than nothing": ({"prompt_tokens": 9, "prompt_cache_hit_tokens": -1}, {"prompt": 9}),
    "no prompt": ({"completion_tokens": 3, "prompt_cache_hit_tokens": 5}, None),
    "text": ({"prompt_tokens": 9, "prompt_cache_hit_tokens": "5"}, {"prompt": 9}),
    "null": ({"prompt_tokens": 9, "prompt_cache_hit_tokens": None}, {"prompt": 9}),
    "more than the prompt": ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 50}, {"prompt": 9, "cached": 9}),
    "a fraction": ({"prompt_tokens": 9.0, "prompt_cache_hit_tokens": 5.5}, {"prompt": 9, "cached": 5}),
    "far too much": ({"prompt_tokens": 1e300}, None),
    "true": ({"prompt_tokens": True}, None),
    "null among the details": (
        {"prompt_tokens": 9, "cached_tokens": 5, "prompt_tokens_details": {"cached_tokens": None, "audio_tokens": 0}},
        {"prompt": 9, "cached": 5},
    ),
    "empty details": (
        {"prompt_tokens": 9, "cached_tokens": 5, "prompt_tokens_details": {}},
        {"prompt": 9, "cached": 5},
    ),
    "zero is a number": ({"prompt_tokens": 9, "prompt_cache_hit_tokens": 0}, {"prompt": 9, "cached": 0}),
    "nothing": ({}, None),
}


@pytest.mark.parametrize(("usage", "tokens"), ODD.values(), ids=ODD.keys())
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_odd_numbers_are_not_reported_and_break_nothing(
    lua: LuaWorld, usage: dict[str, Any], tokens: dict[str, int] | None, stream: bool
) -> None:
    answer = json.dumps({"choices": [], "usage": usage}).encode()
    chunks = [b"data: " + answer + b"\n\n", b""] if stream else [answer]
    got = lua.answer(Reply(chunks, headers=_SSE if stream else _JSON))
    assert got.usage == tokens
    answered = last_usage(got.body) or {}
    assert {name: answered[name] for name in usage if name != "prompt_tokens_details"} == {
        name: number for name, number in usage.items() if name != "prompt_tokens_details"
    }
    assert (answered.get("prompt_tokens_details") or {}).get("cached_tokens") == (tokens or {}).get("cached")


def _event(**members: Any) -> bytes:
    return b"data: " + json.dumps(members).encode() + b"\n\n"


def test_of_two_usages_the_later_counts_and_what_it_lacks_is_kept(lua: LuaWorld) -> None:
    first = _event(choices=[{}], usage={"prompt_tokens": 9, "completion_tokens": 1, "cached_tokens": 5})
    then = _event(choices=[], usage={"prompt_tokens": 9, "completion_tokens": 4})
    got = lua.answer(Reply([first, then, b""], headers=_SSE))
    assert got.usage == {"prompt": 9, "output": 4, "cached": 5}
    assert last_usage(got.body)["prompt_tokens_details"] == {"cached_tokens": 5}


def test_a_messages_input_is_told_first_and_its_output_last(lua: LuaWorld) -> None:
    at_first = {"input_tokens": 4, "cache_read_input_tokens": 5, "output_tokens": 1}
    start = b"event: message_start\n" + _event(type="message_start", message={"usage": at_first, "content": []})
    zeros = {"output_tokens": 7, "input_tokens": 0, "cache_read_input_tokens": 0}
    end = b"event: message_delta\n" + _event(type="message_delta", delta={}, usage=zeros)
    got = lua.answer(Reply([start, end, b""], headers=_SSE), decision={"api": "AnthropicMessages"})
    assert got.usage == {"prompt": 9, "cached": 5, "output": 7}
    assert list(got.chunks) == [start, end, b""]


def test_an_answer_that_has_the_names_already_is_passed_piece_by_piece_as_it_is(lua: LuaWorld) -> None:
    details = {"cached_tokens": 5, "cache_write_tokens": 0}
    chunks = [
        _event(model="m", choices=[{"delta": {"content": "x"}}], usage=None),
        b": a comment\n\n",
        _event(model="m", choices=[], usage={"prompt_tokens": 9, "prompt_tokens_details": details}),
        b"data: [DONE]\n\n",
        b"",
    ]
    got = lua.answer(Reply(chunks, headers=_SSE), decision={"model": "m"})
    assert list(got.chunks) == chunks
    assert got.usage == {"prompt": 9, "cached": 5, "written": 0}


def test_a_lookalike_is_no_usage(lua: LuaWorld) -> None:
    arguments = {"usage": {"prompt_tokens": 1, "cached_tokens": 1}, "model": "x"}
    choice = {"message": {"content": '"usage":{"prompt_tokens":2}', "tool_calls": [{"arguments": arguments}]}}
    body = json.dumps({"model": "m", "choices": [choice], "usage": {"prompt_tokens": 9}, "end": arguments}).encode()
    got = lua.answer(Reply([body], headers=_JSON), decision={"model": "m"})
    assert (got.body, got.usage) == (body, {"prompt": 9})
    body = json.dumps({"choices": [choice], "end": [arguments]}).encode()
    got = lua.answer(Reply([body], headers=_JSON))
    assert (got.body, got.usage) == (body, None)


_NUMBERS = st.integers(-5, 2000) | st.floats(-5, 2000) | st.none() | st.text(max_size=3) | st.booleans()
_USAGES = st.recursive(
    _NUMBERS,
    lambda inner: st.dictionaries(
        st.sampled_from(
            [
                "prompt_tokens",
                "cached_tokens",
                "prompt_tokens_details",
                "cache_write_tokens",
                "num_cached_tokens",
                'x"y',
            ]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=8,
)


@given(
    usage=st.dictionaries(st.sampled_from(["prompt_tokens", "prompt_tokens_details", "cached_tokens", "x"]), _USAGES),
    indent=st.sampled_from([None, 1]),
    at=st.lists(st.integers(0, 400), max_size=4),
    stream=st.booleans(),
)
def test_whatever_a_usage_is_the_rest_of_the_answer_stays_the_same_value(
    usage: dict[str, Any], indent: int | None, at: list[int], stream: bool
) -> None:
    answer = {"id": 'a"\\', "model": "vendor's", "choices": [{"x": "\n{["}], "usage": usage, "end": [1, {"usage": {}}]}
    text = json.dumps(answer, indent=None if stream else indent).encode()
    sent = b"data: " + text + b"\r\n\r\n" if stream else text
    cuts = [0, *sorted({min(each, len(sent)) for each in at}), len(sent)]
    chunks = [sent[start:stop] for start, stop in pairwise(cuts)]
    got = _LUA.answer(Reply([*chunks, b""], headers=_SSE if stream else _JSON), decision={"model": 'the "client\'s"'})
    value = json.loads(got.body.strip().removeprefix(b"data: "))
    added = (value["usage"].get("prompt_tokens_details") or {}) if isinstance(value["usage"], dict) else {}
    assert value == {**answer, "model": 'the "client\'s"', "usage": value["usage"]}
    for name, number in usage.items():
        if name != "prompt_tokens_details":
            assert value["usage"][name] == number or number != number
    if got.usage is not None and isinstance(added, dict) and "cached" in got.usage:
        assert isinstance(added["cached_tokens"], int | float)
