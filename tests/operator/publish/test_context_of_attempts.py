"""What the Lua of every attempt is told of its provider, which it keeps for the next attempt there."""

from collections.abc import Mapping
from typing import Any

import pytest
from tests.operator.conftest import Build
from tests.operator.publish.lua_world import LuaWorld, PreparedAttempt

from limpet_extproc.contract.envoy import (
    CONTEXT_HEADER,
    ELAPSED_HEADER,
    RETRY_HEADER,
    ROUTE_GROUPS,
    ROUTE_KEY,
    ROUTE_METADATA,
    ROUTE_TRIES,
    TRAIL_BEGAN_MS,
    TRAIL_METADATA,
)
from limpet_operator.publish.attempt_filters import attempt_filters
from limpet_operator.publish.envoy_settings import EnvoySettings

GATEWAY = EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",))
ALPHA = {"host": "alpha.example", "prefix": "/v1", "name": "alpha", "passes:x-alpha": True}
CLIENTS = {":path": "/v1/chat/completions", ":authority": "gateway", "x-alpha": "a", "x-beta": "b", "cookie": "c"}


@pytest.fixture
def lua() -> LuaWorld:
    return LuaWorld()


def _sent(lua: LuaWorld, context: Mapping[str, Any], digest: str | None) -> PreparedAttempt:
    return lua.request({**CLIENTS, **({} if digest is None else {CONTEXT_HEADER: digest})}, context)


def test_a_context_is_asked_for_once_and_each_attempt_gets_the_same(lua: LuaWorld) -> None:
    first, second = _sent(lua, ALPHA, "1"), _sent(lua, ALPHA, "1")
    assert (first.contexts_asked_for, second.contexts_asked_for) == (1, 0)
    expected = {":path": "/v1/chat/completions", ":authority": "alpha.example", "x-alpha": "a"}
    assert first.headers == second.headers == expected


def test_a_provider_that_has_changed_is_not_taken_for_what_it_was(lua: LuaWorld) -> None:
    changed = {"host": "alpha.example", "prefix": "/v2", "name": "alpha", "passes:x-beta": True}
    _sent(lua, ALPHA, "1")
    after = _sent(lua, changed, "2")
    assert after.headers == {":path": "/v2/chat/completions", ":authority": "alpha.example", "x-beta": "b"}


def test_a_cluster_that_names_no_digest_is_asked_each_time(lua: LuaWorld) -> None:
    assert [_sent(lua, ALPHA, None).contexts_asked_for for _ in range(2)] == [1, 1]


def test_there_is_an_end_to_how_many_are_kept(lua: LuaWorld) -> None:
    for number in range(1025):
        _sent(lua, ALPHA, str(number))
    assert _sent(lua, ALPHA, "1024").contexts_asked_for == 0
    assert _sent(lua, ALPHA, "0").contexts_asked_for == 1


def test_the_digest_changes_with_whatever_the_context_says(build: Build) -> None:
    (one,) = build.plan(build.raw("Provider"), build.secret()).providers
    (other,) = build.plan(build.raw("Provider", query={"pass": ["region"]}), build.secret()).providers
    digests = {_appended(attempt_filters(each, GATEWAY))[CONTEXT_HEADER]["value"] for each in (one, one, other)}
    assert len(digests) == 2


def test_only_an_attempt_that_is_a_retry_is_told_when_it_is(build: Build) -> None:
    (one,) = build.plan(build.raw("Provider"), build.secret()).providers
    told = _appended(attempt_filters(one, GATEWAY))[RETRY_HEADER]
    assert told["value"] == "%REQ(x-envoy-is-timeout-retry)% %DURATION% %REQUEST_DURATION%"
    assert told["append_action"] == "OVERWRITE_IF_EXISTS"


@pytest.mark.parametrize(
    "told",
    [{RETRY_HEADER: "false 61000 5"}, {RETRY_HEADER: "false", ELAPSED_HEADER: "61000 5"}],
    ids=["this version's cluster", "the cluster of the version before"],
)
@pytest.mark.parametrize(("may_take_ms", "is_timeout"), [(60_000, True), (61_000, False)])
def test_a_retry_knows_its_times(lua: LuaWorld, told: dict[str, str], may_take_ms: int, is_timeout: bool) -> None:
    route = {ROUTE_KEY: "2w", ROUTE_TRIES: 2, ROUTE_GROUPS: [{"name": "beta"}, {"name": "alpha"}]}
    trail = {"may_take_ms": may_take_ms}
    noted = {ROUTE_METADATA: route, TRAIL_METADATA: trail}
    sent = lua.request({**CLIENTS, **told, "x-envoy-attempt-count": "2"}, ALPHA, noted=noted)
    assert sent.metadata[TRAIL_METADATA].get(TRAIL_BEGAN_MS) == (None if is_timeout else 61_000)
    assert (sent.local_status == "504") is is_timeout


def _appended(filters: list[dict[str, Any]]) -> dict[str, dict[str, str]]:
    """By its name what the first filter adds: the value, and how."""
    mutations = filters[0]["typed_config"]["mutations"]["request_mutations"]
    appended = [each["append"] for each in mutations if "append" in each]
    return {each["header"]["key"]: {**each["header"], "append_action": each["append_action"]} for each in appended}
