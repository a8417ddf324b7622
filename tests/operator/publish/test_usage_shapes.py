"""Answers that end as earlier ones did are read by one comparison, and come out as if each were the first."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.envoy.vendor_answers import VENDOR_USAGES, VendorUsage
from tests.operator.publish.lua_world import Attempt, LuaWorld, Reply

from limpet_operator.publish.attempt_filters import ATTEMPT_LUA

_JSON = {"content-type": "application/json"}
_COUNTING = Path(__file__).with_name("counting_string.lua").read_text()
_SHOWING = ATTEMPT_LUA.replace("local shapes = {}", "local shapes = {}\nkept_shapes = shapes")


def _answer(lua: LuaWorld, text: str, api: str) -> Attempt:
    return lua.answer(Reply([text.encode()], headers=_JSON), decision={"api": api, "model": "ours"})


def _with_other_numbers(value: Any, add: int) -> Any:
    match value:
        case dict():
            return {name: _with_other_numbers(item, add) for name, item in value.items()}
        case int() if not isinstance(value, bool):
            return value + add
        case _:
            return value


def _whole(case: VendorUsage, add: int) -> str:
    answer = deepcopy(case.whole())
    return json.dumps({**answer, "usage": _with_other_numbers(answer["usage"], add)})


@pytest.mark.parametrize("case", [each for each in VENDOR_USAGES if each.comes_whole], ids=str)
def test_a_second_answer_of_a_vendor_is_read_as_a_first_one(case: VendorUsage) -> None:
    lua = LuaWorld()
    for add in (0, 1, 1000, 7):
        assert _answer(lua, _whole(case, add), case.api) == _answer(LuaWorld(), _whole(case, add), case.api)


_USAGE = {"prompt_tokens": 3000, "completion_tokens": 72, "prompt_tokens_details": {"cached_tokens": 2944}}


def _text(usage: Any = _USAGE, *, model: str = "theirs", after: Any = None) -> str:
    said = [{"index": 0, "message": {"role": "assistant", "content": "Hello."}}]
    return json.dumps({"id": "a", "model": model, "choices": said, "usage": usage, **(after or {})})


def _work(lua: LuaWorld, text: str) -> int:
    scope = lua.lua.globals()
    scope[b"looked_at"] = 0
    assert _answer(lua, text, "OpenAIChat").usage is not None
    return int(scope[b"looked_at"])


@pytest.mark.parametrize(
    "after", [{}, {"system_fingerprint": "fp_1", "created": 17}], ids=["at the end", "before more"]
)
def test_it_takes_less_work(after: dict[str, Any]) -> None:
    lua = LuaWorld(before=_COUNTING)
    first = _work(lua, _text(after=after))
    varied = {name: "other" if isinstance(item, str) else item + 1 for name, item in after.items()}
    assert _work(lua, _text(_with_other_numbers(_USAGE, 5), after=varied)) < first / 2


def test_only_the_last_shapes_are_kept() -> None:
    lua = LuaWorld(before=_COUNTING)
    first = _work(lua, _text())
    for number in range(16):
        _work(lua, _text({**_USAGE, f"x{number}": True}))
    assert _work(lua, _text()) > first / 2


def _patterns(lua: LuaWorld) -> list[str]:
    kept = lua.lua.globals()[b"kept_shapes"]
    return [shape[b"pattern"].decode() for of_api in kept.values() for shape in of_api.values()]


_SAID = {"message": {"content": "SECRET", "index": 0}}


@pytest.mark.parametrize(
    "after",
    [
        {"choices": [_SAID]},
        {"choice": _SAID},
        {"choice": {"first": _SAID}},
        {"choice": {"first": {"next": _SAID}}},
        {"said": "SECRET"},
        {"said": 'SECRET "quoted"'},
        {"said": ["SECRET"]},
        {"said": {"SECRET words": 5}},
        {'SECRET "name"': 5},
    ],
    ids=str,
)
def test_no_shape_has_what_was_said(after: dict[str, Any]) -> None:
    for usage in ({**_USAGE, **after}, _USAGE):
        lua = LuaWorld(program=_SHOWING)
        assert _answer(lua, _text(usage, after=after), "OpenAIChat").usage is not None
        assert "SECRET" not in "".join(_patterns(lua))


@pytest.mark.parametrize("garbled", ["SECRET", "SECRET:5", '"a":SECRET', '"a":5 SECRET', '"a" SECRET', '"a":{SECRET}'])
def test_nor_has_one_of_an_answer_that_is_no_json(garbled: str) -> None:
    for text in (_text()[:-1] + f",{garbled}}}", _text()[:-2] + f",{garbled}}}}}"):
        lua = LuaWorld(program=_SHOWING)
        _answer(lua, text, "OpenAIChat")
        assert "SECRET" not in "".join(_patterns(lua))


def test_a_shape_has_names_and_constants_and_no_string() -> None:
    lua = LuaWorld(program=_SHOWING)
    _answer(lua, _text({**_USAGE, "tier": "fast"}, after={"fp": "fp_1", "sure": True, "why": None}), "OpenAIChat")
    [pattern] = _patterns(lua)
    assert all(name in pattern for name in ("cached%_tokens", "tier", "fp", "sure", "true", "null"))
    assert "fast" not in pattern
    assert "fp%_1" not in pattern


@pytest.mark.parametrize("field", ["prompt_tokens", "completion_tokens", "total_tokens"])
@pytest.mark.parametrize("known", [True, False], ids=["of a known shape", "of none"])
def test_counts_that_are_too_large_take_no_place(field: str, known: bool) -> None:
    usage, lua = {**_USAGE, "total_tokens": 3072}, LuaWorld(program=_SHOWING)
    if known:
        _answer(lua, _text(usage), "OpenAIChat")
    for number in range(20):
        text = _text({**usage, field: 2 * 10**9 + number})
        assert _answer(lua, text, "OpenAIChat") == _answer(LuaWorld(), text, "OpenAIChat")
    assert len(_patterns(lua)) == int(known)


def test_a_total_that_is_too_large_is_none_in_a_known_shape_either() -> None:
    lua, many = LuaWorld(), 8 * 10**8
    for each in (10, many):
        thought = {"reasoning_tokens": each}
        usage = {"prompt_tokens": each, "completion_tokens": each, "completion_tokens_details": thought}
        text = _text({**usage, "total_tokens": 3 * each})
        assert _answer(lua, text, "OpenAIChat") == _answer(LuaWorld(), text, "OpenAIChat")


def test_a_count_that_was_too_large_hides_no_later_one_from_clients() -> None:
    lua = LuaWorld()
    for cached in (10**10, 5):
        text = _text({"prompt_tokens": 30, "completion_tokens": 7, "prompt_cache_hit_tokens": cached})
        assert _answer(lua, text, "OpenAIChat") == _answer(LuaWorld(), text, "OpenAIChat")


@pytest.mark.parametrize("present", [["first_tokens"], ["second_tokens"], ["first_tokens", "second_tokens"]], ids=str)
def test_a_count_that_is_a_sum_is_read_alike(present: list[str]) -> None:
    field, summed = '{ "prompt_cache_hit_tokens" }', '{ "first_tokens", "second_tokens" }'
    assert ATTEMPT_LUA.count(field) == 1
    program = _SHOWING.replace(field, summed)
    lua = LuaWorld(program=program)
    for cached in (5, 6):
        usage = {"prompt_tokens": 30, "completion_tokens": 7, **dict.fromkeys(present, cached)}
        noted = _answer(lua, _text(usage), "OpenAIChat").usage
        assert noted is not None
        assert noted["cached"] == cached * len(present)
    assert _patterns(lua) == []


_NUMBERS: st.SearchStrategy[Any] = st.sampled_from(
    [0, 1, 72, 3000, -1, 2.5, 10**9, 10**10, 1e300, None, True, "5", "a:5", "", [], [3], {}]
)
_FIELDS = st.sampled_from(
    ["prompt_tokens", "completion_tokens", "total_tokens", "cached_tokens", "reasoning_tokens", "input_tokens", "cost"]
)
_DETAILS = st.sampled_from(["prompt_tokens_details", "completion_tokens_details", "cache_creation", "usage"])
_USAGES = st.dictionaries(
    _FIELDS | _DETAILS,
    _NUMBERS
    | st.dictionaries(_FIELDS | _DETAILS, _NUMBERS | st.dictionaries(_FIELDS, _NUMBERS, max_size=2), max_size=3),
    max_size=5,
)
_AFTER = st.dictionaries(
    st.sampled_from(["x_groq", "timings", "model", "usage_", "note", "system_fingerprint"]),
    st.sampled_from(["fp_1", 'a "b" c', ": ", 5, None, {"usage": {"dram_cached_tokens": 4}}, {"cache_n": 3}, [1, "x"]]),
    max_size=2,
)


@settings(deadline=None)
@given(
    usages=st.lists(_USAGES, min_size=1, max_size=3),
    after=_AFTER,
    api=st.sampled_from(["OpenAIChat", "AnthropicMessages"]),
    others=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=2, max_size=5),
)
def test_whatever_came_before_an_answer_is_read_alike(
    usages: list[Any], after: Any, api: str, others: list[tuple[int, int]]
) -> None:
    lua = LuaWorld()
    for which, add in others:
        text = _text(_with_other_numbers(usages[which % len(usages)], add), after=_with_other_numbers(after, add))
        assert _answer(lua, text, api) == _answer(LuaWorld(), text, api)


_WORDS = st.text(st.characters(codec="utf-8"), max_size=5).map(lambda text: f"SECRET{text}")
_CONTENT: st.SearchStrategy[Any] = st.recursive(
    _WORDS | st.sampled_from([5, -1.5, None, True]),
    lambda item: st.lists(item, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "usage"]), item, max_size=3),
    max_leaves=6,
)


@settings(deadline=None)
@given(within=_CONTENT, after=_CONTENT, follows=_AFTER)
def test_whatever_an_answer_says_is_in_no_shape(within: Any, after: Any, follows: Any) -> None:
    lua = LuaWorld(program=_SHOWING)
    _answer(lua, _text({**_USAGE, "x": within}, after={**follows, "choices": after}), "OpenAIChat")
    assert "SECRET" not in "".join(_patterns(lua))
