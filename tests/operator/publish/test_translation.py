"""Which gateways and clusters have filters that translate, and what the Lua makes of attempts that go through them."""

import json
from typing import Any

import pytest
from tests.operator.publish.lua_world import LuaWorld, Reply
from tests.operator.publish.test_resources import GATEWAY, chain, clusters

from limpet_extproc.contract.envoy import (
    NO_USER_ID,
    TOO_LARGE,
    TRAIL_CAUSE,
    TRAIL_METADATA,
    TRANSLATE_HEADER,
    TRANSLATED_CHAT,
    TRANSLATION_METADATA,
    TRANSLATION_STATE,
)
from limpet_operator.publish.listener import client_listener
from limpet_operator.publish.publication import settings_for
from limpet_operator.publish.translation import translator_cluster


@pytest.fixture(scope="module")
def world() -> LuaWorld:
    return LuaWorld()


def names(filters: list[dict[str, Any]]) -> list[str]:
    return [each["name"] for each in filters if each["name"].startswith("limpet.translate")]


def listener_filters(made: Any) -> list[dict[str, Any]]:
    (filters,) = client_listener(settings_for(made, GATEWAY))["filter_chains"]
    found: list[dict[str, Any]] = filters["filters"][0]["typed_config"]["http_filters"]
    return found


@pytest.mark.parametrize(("vendor", "translates"), [("Anthropic", True), ("DeepSeek", False)])
def test_only_where_somebody_speaks_messages_alone(build: Any, vendor: str, translates: bool) -> None:
    made = build.plan(build.raw("Provider", "a", vendor=vendor), build.secret())
    assert names(chain(clusters(made)["a"])) == ["limpet.translate.request"] * translates


@pytest.mark.parametrize("vendor", ["Anthropic", "DeepSeek"])
def test_the_listener_is_ready_for_the_first_that_does(build: Any, vendor: str) -> None:
    """A listener that changes leaves open connections the old one: their clients would get Messages."""
    made = build.plan(build.raw("Provider", "a", vendor=vendor), build.secret())
    assert names(listener_filters(made)) == ["limpet.translate.answer"]


@pytest.mark.parametrize(("vendor", "told"), [("Anthropic", False), ("DeepSeek", True)])
def test_the_translator_learns_where_a_user_would_divide_the_cache(build: Any, vendor: str, told: bool) -> None:
    spec = {"vendor": vendor, "dialects": ["AnthropicMessages"]}
    made = build.plan(build.raw("Provider", "a", **spec), build.secret())
    assert (NO_USER_ID[0] in json.dumps(clusters(made)["a"])) is told


def test_the_answer_is_translated_before_anything_else_sees_it(build: Any) -> None:
    made = build.plan(build.raw("Provider", "a", vendor="Anthropic"), build.secret())
    assert [each["name"] for each in listener_filters(made)][-2:] == [
        "limpet.translate.answer",
        "envoy.filters.http.router",
    ]


def test_each_worker_has_a_translator_beside_it() -> None:
    cluster = translator_cluster(("/run/extproc-0.sock", "/run/extproc-1.sock"))
    (places,) = cluster["load_assignment"]["endpoints"]
    paths = [each["endpoint"]["address"]["pipe"]["path"] for each in places["lb_endpoints"]]
    assert paths == ["/run/translate-0.sock", "/run/translate-1.sock"]


def test_a_request_that_was_not_translated_is_nobodys_fault(world: LuaWorld) -> None:
    attempt = world.answer(Reply([b"not found"], status="404"), words=[TRANSLATED_CHAT])
    assert attempt.metadata[TRAIL_METADATA][1][TRAIL_CAUSE] == "Untranslated"
    assert attempt.metadata[TRAIL_METADATA][1]["verdict"] == "refused"
    assert attempt.headers[":status"] == "503"
    assert TRANSLATE_HEADER not in attempt.headers
    error = json.loads(attempt.body)["error"]
    assert error["code"] == "no_provider_available"
    assert error["message"].startswith("The gateway could not translate the request")
    assert "404" not in error["message"]


def test_nor_is_one_that_would_get_too_large(world: LuaWorld) -> None:
    noted = {TRANSLATION_METADATA: {TRANSLATION_STATE: TOO_LARGE}}
    attempt = world.answer(Reply([b"not found"], status="404"), words=[TRANSLATED_CHAT], noted=noted)
    assert attempt.metadata[TRAIL_METADATA][1][TRAIL_CAUSE] == "TooLarge"
    assert attempt.headers[":status"] == "413"
    assert json.loads(attempt.body)["error"]["code"] == "request_too_large"
