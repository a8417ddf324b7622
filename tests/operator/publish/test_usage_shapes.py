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

_JSON = {"content-type": "application/json"}
_COUNTING = Path(__file__).with_name("counting_string.lua").read_text()


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
