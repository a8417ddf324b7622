"""The Lua of the gateway reads a path as `apis.asked` does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lupa.luajit21 import LuaRuntime
from tests.contract.test_apis import WRITTEN

from limpet_extproc.contract.apis import CONVERSATIONS, COUNTING, Asked, api_of, asked
from limpet_operator.publish.lua import program

_LUA = LuaRuntime(unpack_returned_tuples=True)
_ASKED, _API_OF = _LUA.execute(program("asked.lua", then="return asked, api_of"))
_PARTS = [
    "/",
    "/v1",
    "/openai",
    "/anthropic",
    "/deployments",
    "/gpt-5",
    "/a%2Fb",
    "/messages",
    "/completions",
    "/chat",
    "/v1beta",
    "?x=/v1",
    ".",
]


def in_lua(path: str) -> Asked:
    found = _ASKED(path)
    return Asked(*found) if isinstance(found, tuple) else Asked(found)


@pytest.mark.parametrize(("path", "found"), WRITTEN.items())
def test_each_way_of_writing_a_path_is_read(path: str, found: Asked) -> None:
    assert in_lua(path) == found


@given(st.lists(st.sampled_from(_PARTS), max_size=8).map("".join))
def test_any_path_is_read_alike(path: str) -> None:
    assert in_lua(path) == asked(path)


@pytest.mark.parametrize("path", [*CONVERSATIONS, *COUNTING, "/embeddings", "/images/generations", "/responses/r"])
def test_apis_have_the_same_names(path: str) -> None:
    found = api_of(path)
    assert found is not None
    assert _API_OF(path) == found.name
