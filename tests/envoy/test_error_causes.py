"""The Lua and the Python that read a provider's errors agree, asked side by side: Envoy runs the one, we the other."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.operator.publish.test_error_cause import NOT_FOUND
from tests.waiting import eventually

from limpet_operator.laptop.machine import envoy_command
from limpet_operator.publish.encode import typed
from limpet_operator.publish.error_cause import error_cause
from limpet_operator.publish.error_rules import RULES, lua_rules
from limpet_operator.publish.lua import program
from limpet_operator.resources.vendors import load_vendors

pytestmark = pytest.mark.envoy

_ASK: Final = """
function envoy_on_request(handle)
  local vendor, status = handle:headers():get("x-vendor"), handle:headers():get("x-status")
  local body = handle:body()
  local text = body and body:getBytes(0, body:length()) or ""
  handle:respond({ [":status"] = "200" }, error_cause(vendor, status, text))
end
"""


class Lua:
    """The program, as an Envoy runs it for every request to its socket."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def error_cause(self, vendor: str, status: int, text: str) -> str:
        headers = {"x-vendor": vendor, "x-status": str(status)}
        answer = self._client.post("http://lua/", content=text.encode(), headers=headers)
        assert answer.status_code == 200, answer.text
        return answer.text


def _bootstrap(socket: Path) -> dict[str, object]:
    lua = {"inline_string": lua_rules() + program("causes.lua", then=_ASK)}
    http = typed(
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="lua",
        route_config={"virtual_hosts": [{"name": "lua", "domains": ["*"], "routes": [_ANYTHING]}]},
        http_filters=[
            {"name": "lua", "typed_config": typed("filters.http.lua.v3.Lua", default_source_code=lua)},
            {"name": "router", "typed_config": typed("filters.http.router.v3.Router")},
        ],
    )
    chain = {"filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": http}]}
    listener = {"name": "lua", "address": {"pipe": {"path": str(socket)}}, "filter_chains": [chain]}
    return {"static_resources": {"listeners": [listener]}}


_ANYTHING: Final = {"match": {"prefix": "/"}, "direct_response": {"status": 500}}


@pytest.fixture(scope="module")
def lua(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lua]:
    directory = tmp_path_factory.mktemp("lua")
    socket, config = directory / "lua.sock", directory / "envoy.json"
    config.write_text(json.dumps(_bootstrap(socket)))
    with (directory / "envoy.log").open("wb") as log:
        envoy = subprocess.Popen(envoy_command(config, "--concurrency", "1"), stdout=log, stderr=log)
    try:
        eventually(socket.exists, "Envoy's socket")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(socket))) as client:
            yield Lua(client)
    finally:
        envoy.kill()
        envoy.wait()


WORDS: Final = sorted({rule["find"] for rule in RULES})
VENDORS: Final = sorted(load_vendors())
PIECES: Final = st.one_of(
    st.sampled_from(WORDS),
    st.sampled_from(WORDS).map(str.upper),
    st.sampled_from(
        ['{"error": {"message": "', '"error": "', '"message" : "', '"', '", "code": "', '"}}', "[", "{", " <p>"]
    ),
    st.sampled_from([" ", "'", "`", "\\", "don't say '", "é", "\n", "İ", "a'b'"]),
    st.text(max_size=5),
)
TEXTS: Final = st.lists(PIECES, max_size=8).map("".join)
STATUSES: Final = st.sampled_from([200, 302, 400, 401, 402, 403, 404, 410, 413, 418, 422, 429, 498, 500, 503, 529, 599])


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from(VENDORS), STATUSES, TEXTS)
def test_both_find_the_same_cause_in_any_text(lua: Lua, vendor: str, status: int, text: str) -> None:
    assert lua.error_cause(vendor, status, text) == error_cause(vendor, status, text)


@pytest.mark.parametrize(("text", "cause"), NOT_FOUND)
def test_the_lua_knows_what_a_404_did_not_find(lua: Lua, text: str, cause: str) -> None:
    assert lua.error_cause("Custom", 404, text) == cause


@pytest.mark.parametrize("words", WORDS)
def test_both_find_the_same_cause_by_each_rule(lua: Lua, words: str) -> None:
    statuses = {status for rule in RULES if rule["find"] == words for status in rule["status"]}
    for status in statuses:
        for vendor in ("Custom", "OpenAI"):
            for text in (words, f'{{"error": {{"message": "{words}"}}}}', f'{{"error": {{"code": "{words}"}}}}'):
                assert lua.error_cause(vendor, status, text) == error_cause(vendor, status, text)
