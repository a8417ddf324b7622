"""What Envoy is told, resource by resource: it encodes, chains are total, routes are in order, secrets stay secret."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from envoy_data_plane.envoy.config.listener.v3 import Listener
from envoy_data_plane.envoy.config.route.v3 import RouteConfiguration
from tests.operator.conftest import Build

from limpet_extproc.contract.envoy import READ_HEADERS, route_key
from limpet_extproc.contract.reasons import DecisionReason, words
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.publish.attempt_filters import ATTEMPT_FILTER, ATTEMPT_LUA
from limpet_operator.publish.catalog import catalog
from limpet_operator.publish.encode import encode
from limpet_operator.publish.envoy_settings import EXT_PROC_WAIT_S, FRONT_LUA, HEALTH, UNDECIDED_FILTER, EnvoySettings
from limpet_operator.publish.headers import CREDENTIAL_HEADERS, ENDS_HERE, PASSED, kept_for_later_attempts
from limpet_operator.publish.lua import without_comments
from limpet_operator.publish.paths import MODELS
from limpet_operator.publish.publication import common_resources, provider_resources, rendered, settings_for
from limpet_operator.publish.resource import CLUSTER, LISTENER, SECRET
from limpet_operator.publish.resource import ROUTE as ROUTES
from limpet_operator.publish.route import DEFAULT_ORDER_LENGTH, route_configuration
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore

EXAMPLES = Path(__file__).parents[3] / "examples"
OF_OTHER_PROGRAMS = ("envoy", "envoy-gateway", "istio")
"""Of other programs than the operator; tests/mesh tries them."""
GATEWAY = EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",))
EVERY_AUTH_STYLE: dict[str, dict[str, Any]] = {
    "bearer": {},
    "named": {
        "vendor": "Custom",
        "credential": {"secretRef": {"name": "deepseek", "key": "api-key"}, "header": "api-key"},
    },
    "nobody": {"vendor": "Custom", "credential": None},
    "plain": {"url": "http://127.0.0.1:8000", "models": [{"name": "flash", "upstreamName": "local-flash"}]},
}


@pytest.fixture
def varied(build: Build) -> Plan:
    raws = [build.raw("Provider", name, **fields) for name, fields in EVERY_AUTH_STYLE.items()]
    made: Plan = build.plan(
        *raws, build.secret(), build.raw("StickyPolicy", "default", identity={"headers": ["X-Mine"]})
    )
    assert [provider.name for provider in made.providers] == sorted(EVERY_AUTH_STYLE)
    return made


def everything(made: Plan, gateway: EnvoySettings = GATEWAY) -> Iterator[tuple[str, dict[str, Any]]]:
    yield from common_resources(made, gateway)
    for provider in made.providers:
        yield from provider_resources(provider, gateway)


def chain(cluster: dict[str, Any]) -> list[dict[str, Any]]:
    (options,) = cluster["typed_extension_protocol_options"].values()
    filters: list[dict[str, Any]] = options["http_filters"]
    return filters


def clusters(made: Plan) -> dict[str, dict[str, Any]]:
    return {
        body["name"]: body
        for provider in made.providers
        for kind, body in provider_resources(provider, GATEWAY)
        if kind == CLUSTER
    }


@pytest.mark.parametrize(
    "example", sorted(path.name for path in EXAMPLES.iterdir() if path.is_dir() and path.name not in OF_OTHER_PROGRAMS)
)
@pytest.mark.parametrize("header_mode", [False, True])
def test_every_resource_of_every_example_is_one_that_envoy_knows(build: Build, example: str, header_mode: bool) -> None:
    store = FileStore(build.parser)
    store.replace(files.scan(EXAMPLES / example).documents)
    made = plan(store.objects, {})
    assert made.providers
    gateway = EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",), header_mode=header_mode)
    names = [encode(kind, body).key for kind, body in everything(made, gateway)]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("header_mode", [False, True])
def test_routes_lose_nothing_on_their_way_through_two_packages(varied: Plan, header_mode: bool) -> None:
    body = route_configuration(varied.providers, replace(GATEWAY, header_mode=header_mode))
    written = RouteConfiguration.parse(encode(ROUTES, body).body).to_dict()
    # An Any that is there and empty is more than one of the packages can read.
    (health,) = (each for each in written["virtualHosts"][0]["routes"] if each["match"].get("path") == "/healthz")
    assert health["typedPerFilterConfig"][HEALTH].pop("config") == {"@type": ""}
    readable = json.loads(json.dumps(body).replace('"config": {}', '"disabled": false'))
    assert written == RouteConfiguration.from_dict(readable).to_dict()


def test_every_way_of_signing_in_encodes(varied: Plan) -> None:
    kinds = [encode(kind, body).type_url for kind, body in everything(varied)]
    assert {kind: kinds.count(kind) for kind in set(kinds)} == {CLUSTER: 6, LISTENER: 1, ROUTES: 1, SECRET: 3}


@pytest.mark.parametrize("wrong", [{"name": "a", "no_such_field": 1}, {"name": "a", "connect_timeout": "soon"}])
def test_a_field_that_is_not_envoys_is_an_error_here_and_not_there(wrong: dict[str, Any]) -> None:
    with pytest.raises((KeyError, ValueError)):
        encode(CLUSTER, wrong)


def test_the_chain_of_every_provider_is_total(varied: Plan) -> None:
    for name, cluster in clusters(varied).items():
        filters = chain(cluster)
        names = [each["name"] for each in filters]
        injector = [] if name == "nobody" else ["envoy.filters.http.credential_injector"]
        assert names == [
            "limpet.strip_and_name",
            *injector,
            ATTEMPT_FILTER,
            "limpet.which_attempt",
            "envoy.filters.http.upstream_codec",
        ]
        mutations = filters[0]["typed_config"]["mutations"]
        removed = [each["remove"] for each in mutations["request_mutations"] if "remove" in each]
        assert removed == list(CREDENTIAL_HEADERS)
        (named,) = mutations["response_mutations"]
        assert named["append"]["header"] == {"key": "x-limpet-provider", "value": name}
        assert named["append"]["append_action"] == "OVERWRITE_IF_EXISTS_OR_ADD"
        assert {"host", "prefix"} <= set(context_of(cluster))


def test_every_header_a_provider_signs_in_with_is_stripped_from_every_other(varied: Plan) -> None:
    signed = [
        each["typed_config"]["credential"]["typed_config"]["header"]
        for cluster in clusters(varied).values()
        for each in chain(cluster)
        if each["name"] == "envoy.filters.http.credential_injector"
    ]
    assert {header.lower() for header in signed} == {"authorization", "api-key"}
    assert {header.lower() for header in signed} <= set(CREDENTIAL_HEADERS)


def test_a_credential_is_its_own_providers_secret(varied: Plan) -> None:
    secrets = {body["name"]: body for kind, body in everything(varied) if kind == SECRET}
    texts = {name: body["generic_secret"]["secret"]["inline_string"] for name, body in secrets.items()}
    hosts = {provider.name: provider.spec.url.authority for provider in varied.providers}
    named = f"limpet/credential/named@{hosts['named']}"
    assert texts == {
        f"limpet/credential/bearer@{hosts['bearer']}": "Bearer sk-1",
        named: texts[named],
        f"limpet/credential/plain@{hosts['plain']}": "Bearer sk-1",
    }
    assert texts[named].endswith("sk-1")
    assert "sk-1" not in json.dumps([body for kind, body in everything(varied) if kind != SECRET])


def test_what_people_read_has_every_resource_and_no_key(varied: Plan) -> None:
    shown = list(rendered(varied, GATEWAY))
    names = {(kind, body["name"]) for kind, body in everything(varied)}
    assert {(kind, body["name"]) for kind, body in shown} == names
    assert "sk-1" not in json.dumps(shown)
    assert json.dumps(shown).count("(hidden)") == 3


def test_only_models_with_another_name_are_renamed(varied: Plan) -> None:
    contexts = {name: context_of(cluster) for name, cluster in clusters(varied).items()}
    vendors = {provider.name: provider.spec.vendor for provider in varied.providers}
    for name, context in contexts.items():
        assert (context.pop("name"), context.pop("vendor")) == (name, vendors[name])
        assert context.pop("may_take_ms") == "600000"
    own = {"own:authorization": True, "prefix:AnthropicMessages": "/anthropic/v1"}
    assert contexts["plain"] == {"host": "127.0.0.1:8000", "prefix": "", "model:flash": '"local-flash"', **own}
    assert contexts["bearer"] == {"host": "api.deepseek.com", "prefix": "/v1", **own}


def test_where_a_provider_has_no_usable_host_nobody_can_listen_in_its_place(varied: Plan) -> None:
    for cluster in clusters(varied).values():
        provider, stand_in = cluster["load_assignment"]["endpoints"]
        assert (provider["priority"], stand_in["priority"]) == (0, 1)
        address = stand_in["lb_endpoints"][0]["endpoint"]["address"]["socket_address"]
        assert address == {"address": "127.0.0.1", "port_value": 0}


def test_an_ipv6_provider_is_connected_to_without_brackets_and_called_with_them(build: Build) -> None:
    made = build.plan(build.raw("Provider", url="http://[2001:db8::1]:8000/v1"), build.secret())
    (cluster,) = clusters(made).values()
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"] == {"address": "2001:db8::1", "port_value": 8000}
    assert context_of(cluster)["host"] == "[2001:db8::1]:8000"


def test_what_one_provider_is_told_and_another_is_not_is_kept_for_the_next_attempt(build: Build) -> None:
    headers = {"pass": ["traceparent", "accept"], "set": [{"name": "user-agent", "value": "us"}]}
    made = build.plan(
        build.raw("Provider", "a", headers=headers), build.raw("Provider", "b", vendor="XAI"), build.secret()
    )
    kept = ("traceparent", "user-agent", "x-grok-conv-id")
    assert kept_for_later_attempts(made.providers) == kept
    states = {
        state["object_key"]: state["format_string"]["text_format_source"]["inline_string"]
        for each in listener(made)["http_filters"]
        if each["name"] == "limpet.originals"
        for state in each["typed_config"]["on_request_headers"]
    }
    assert tuple(line.split()[0] for line in states["limpet.kept"].split("\n")) == kept


def test_a_value_that_is_set_is_no_format_and_one_of_a_secret_is_nowhere_but_in_its_secret(build: Build) -> None:
    written = [
        {"name": "x-plain", "value": "100%REQ(authorization)%"},
        {"name": "x-hidden", "secretRef": {"name": "deepseek", "key": "other"}},
    ]
    secret = build.secret(**{"api-key": "sk-1", "other": "sk-other"})
    made = build.plan(build.raw("Provider", headers={"set": written}), secret)
    (cluster,) = clusters(made).values()
    mutations = chain(cluster)[0]["typed_config"]["mutations"]["request_mutations"]
    appended, _retry, _context = (each["append"]["header"] for each in mutations if "append" in each)
    assert appended == {"key": "x-plain", "value": "100%%REQ(authorization)%%"}
    secrets = [body for kind, body in everything(made) if kind == SECRET]
    texts = {body["name"]: body["generic_secret"]["secret"]["inline_string"] for body in secrets}
    assert texts[f"limpet/header/deepseek@{made.providers[0].spec.url.authority}/x-hidden"] == "sk-other"
    assert "sk-other" not in json.dumps([body for kind, body in everything(made) if kind != SECRET])
    assert "sk-other" not in json.dumps(list(rendered(made, GATEWAY)))
    assert "sk-other" not in repr(made)


def test_what_passes_and_what_ends_here_are_lists_of_names_in_lower_case_without_doubles() -> None:
    for names in (PASSED, ENDS_HERE):
        assert [name.lower() for name in names] == list(dict.fromkeys(names))
    assert not set(PASSED) & {*CREDENTIAL_HEADERS, "cookie", "openai-organization", "openai-project"}
    assert not {"retry-after", "request-id", "x-request-id", "content-type"} & set(ENDS_HERE)


def routes(made: Plan, **gateway: Any) -> list[dict[str, Any]]:
    own = replace(settings_for(made, EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",))), **gateway)
    (body,) = (body for kind, body in common_resources(made, own) if kind == ROUTES)
    found: list[dict[str, Any]] = body["virtual_hosts"][0]["routes"]
    return found


def host(made: Plan) -> dict[str, Any]:
    found: dict[str, Any] = route_configuration(made.providers, settings_for(made, GATEWAY))["virtual_hosts"][0]
    return found


def what(route: dict[str, Any]) -> str:
    """A route in a word: the answer given here, or how a provider is chosen."""
    if "direct_response" in route:
        return str(route["direct_response"]["status"])
    return next(
        way for way in ("inline_cluster_specifier_plugin", "cluster_header", "cluster") if way in route["route"]
    )


def context_of(cluster: dict[str, Any]) -> dict[str, Any]:
    (lua,) = (each for each in chain(cluster) if each["name"] == ATTEMPT_FILTER)
    context: dict[str, Any] = lua["typed_config"]["value"]["filter_context"]
    return context


PLUGIN = "inline_cluster_specifier_plugin"


def decided(route: dict[str, Any]) -> bool:
    """Whether only a request that has its decision takes this route."""
    return "dynamic_metadata" in route["match"] or any(
        header["name"] == "x-limpet-cluster" for header in route["match"].get("headers", ())
    )


@pytest.mark.parametrize(
    ("gateway", "ways"),
    [({"max_attempts": 2}, [*[PLUGIN] * 4, PLUGIN]), ({"header_mode": True}, ["cluster_header", "cluster"])],
)
def test_routes_stand_in_the_order_in_which_envoy_tries_them(
    varied: Plan, gateway: dict[str, Any], ways: list[str]
) -> None:
    every = routes(varied, **gateway)
    *after, waiting = ways
    posted = ["400", "415", waiting, waiting]
    assert [what(route) for route in every[:4]] == ["405", "403", "204", "204"], "asked of every path"
    rest = [what(route) for route in every[4:]]
    usual = len(after) + 1 + len(posted)
    assert rest[:usual] == [*after, *posted, "404"], "paths that can be read in two ways, before all other patterns"
    assert every[4 + len(after)]["match"]["path"] == "/v1/chat/completions"
    others = [*posted, *posted, *["405"] * 3, *[waiting] * 5, *["405"] * 3]
    assert rest[usual : usual + len(others)] == others
    assert set(rest[usual + len(others) :]) == {"200", "404", "405"}
    assert [decided(route) for route in every].count(True) == len(after), "once for all APIs"


def test_the_number_of_routes_hardly_depends_on_how_many_apis_there_are(build: Build) -> None:
    few, many = (
        routes(build.plan(build.raw("Provider", endpoints=endpoints), build.secret()))
        for endpoints in (["audio"], ["audio", "completions", "embeddings", "images", "moderations", "rerank"])
    )
    assert len(many) - len(few) == 5, "one more pattern"


def test_another_provider_of_the_same_apis_changes_no_route_but_those_of_models(build: Build) -> None:
    names = [f"p{number:02}" for number in range(DEFAULT_ORDER_LENGTH + 1)]
    before, after = (
        routes(build.plan(*(build.raw("Provider", name, endpoints=["embeddings"]) for name in some), build.secret()))
        for some in (names[:-1], names)
    )
    changed = [new["match"] for old, new in zip(before, after, strict=True) if old != new]
    assert [match["safe_regex"]["regex"] for match in changed] == [MODELS]


def test_without_a_provider_every_conversation_says_so(build: Build) -> None:
    answers = [route for route in routes(build.plan()) if context(route).get("reason") == "refused.no_provider"]
    assert len(answers) == 6
    assert {what(route) for route in answers} == {"503"}
    assert "No provider is configured" in context(answers[0])["message"]


def context(route: dict[str, Any]) -> dict[str, Any]:
    """What the Lua of a route that answers itself is told."""
    found: dict[str, Any] = route.get("typed_per_filter_config", {}).get(FRONT_LUA, {}).get("filter_context", {})
    return found


def test_a_request_is_tried_no_more_often_than_its_decision_names_providers(varied: Plan) -> None:
    decided = [route for route in routes(varied, max_attempts=3) if "dynamic_metadata" in route["match"]]
    made = {}
    for route in decided:
        (match,) = route["match"]["dynamic_metadata"]
        made[match["value"]["string_match"]["exact"]] = route["route"]["retry_policy"]["num_retries"] + 1
    assert made == {route_key(n, stream, 0): n for n in (2, 4, 6) for stream in (True, False)}


def test_where_a_timeout_moves_on_there_are_routes_that_try_each_provider_once(build: Build) -> None:
    policy = build.raw("StickyPolicy", failover={"onTimeout": "NextProvider"})
    made = build.plan(build.raw("Provider"), build.secret(), policy)
    decided = [r for r in routes(made) if "dynamic_metadata" in r["match"]]
    keys = {r["match"]["dynamic_metadata"][0]["value"]["string_match"]["exact"] for r in decided}
    assert keys == {route_key(n, stream, 0) for n in (1, 2, 3, 4, 6) for stream in (True, False)}


def waits_of(plan: Plan) -> dict[str, dict[str, str]]:
    """The limits of every route for decisions, by its key."""
    waits = {}
    for route in routes(plan):
        if "dynamic_metadata" in route["match"]:
            key = route["match"]["dynamic_metadata"][0]["value"]["string_match"]["exact"]
            action = route["route"]
            limits = {**action, **action["retry_policy"]}
            names = ("per_try_timeout", "per_try_idle_timeout", "idle_timeout")
            waits[key] = {name: limits[name] for name in names if name in limits}
    return waits


def test_a_route_of_streams_waits_as_long_as_the_providers_of_its_level(build: Build) -> None:
    quick = build.raw("Provider", "quick", timeouts={"firstByte": "3s", "unstreamed": "20s", "idle": "5s"})
    slow = build.raw("Provider", "slow", timeouts={"firstByte": "2m", "unstreamed": "1h", "idle": "2m"})
    waits = waits_of(build.plan(quick, slow, build.secret()))
    assert waits["2s0"] == {"per_try_timeout": "3.0s", "idle_timeout": "5.0s"}
    assert waits["2s1"] == {"per_try_idle_timeout": "120.0s"}, "one limit for silence before an answer and within it"
    assert waits["2w0"] == {}, "whole answers are limited by the provider's cluster"
    assert "2w1" not in waits


def test_a_request_may_wait_for_its_decision_however_quick_the_providers_have_to_be(build: Build) -> None:
    plan = build.plan(build.raw("Provider", timeouts={"firstByte": "1s", "idle": "2s"}), build.secret())
    (undecided,) = [each for each in routes(plan) if each.get("name") and "dynamic_metadata" not in each["match"]][:1]
    assert undecided["route"]["idle_timeout"] == f"{EXT_PROC_WAIT_S + 1.0}s"


def test_where_timeouts_move_on_a_pause_may_begin_after_several_attempts_that_were_waited_for(build: Build) -> None:
    raw = build.raw("Provider", timeouts={"firstByte": "3s", "idle": "5s"})
    policy = build.raw("StickyPolicy", failover={"onTimeout": "NextProvider"})
    assert waits_of(build.plan(raw, build.secret(), policy))["3s0"]["idle_timeout"] == "11.0s"


def test_a_whole_answer_may_take_as_long_as_its_provider_says_and_a_stream_as_long_as_it_likes(build: Build) -> None:
    quick = build.raw("Provider", "quick", timeouts={"unstreamed": "20s"})
    made = build.plan(quick, build.raw("Provider", "slow"), build.secret())
    limits = {}
    for name, cluster in clusters(made).items():
        (options,) = cluster["typed_extension_protocol_options"].values()
        limits[name] = options["common_http_protocol_options"]["max_stream_duration"]
    assert limits == {"quick": "20.0s", "slow": "600.0s"}
    for route in routes(made):
        if "dynamic_metadata" in route["match"]:
            (match,) = route["match"]["dynamic_metadata"]
            added = [each["header"] for each in route.get("request_headers_to_add", [])]
            off = {"key": "x-envoy-upstream-stream-duration-ms", "value": "0"}
            assert (off in added) == ("s" in match["value"]["string_match"]["exact"])


def test_the_routes_own_order_is_short_however_many_providers_there_are(build: Build) -> None:
    made = build.plan(*(build.raw("Provider", f"p{number:02}") for number in range(20)), build.secret())
    undecided = next(route for route in routes(made) if route.get("name"))
    specifier = undecided["route"][PLUGIN]["extension"]["typed_config"]["value"]
    assert [group["name"] for group in specifier["priority_groups"]] == [
        f"p{n:02}" for n in range(DEFAULT_ORDER_LENGTH)
    ]


def test_every_answer_of_the_gateway_itself_is_json_of_the_api_and_says_why(varied: Plan, build: Build) -> None:
    for route in (*routes(varied), *routes(build.plan())):
        if "direct_response" in route and "connect_matcher" not in route["match"]:
            answer, told = route["direct_response"], context(route)
            if answer["body"]["inline_string"]:
                assert set(json.loads(answer["body"]["inline_string"])) == {"object", "message"}
            if answer["status"] >= 400 and "models" not in told:
                assert told["status"] == str(answer["status"])
                assert json.loads(f'"{told["message"]}"')
                assert told["type"] in ("invalid_request_error", "server_error")
            headers = {each["header"]["key"]: each["header"]["value"] for each in route["response_headers_to_add"]}
            assert headers["content-type"] == "application/json"
            assert headers["x-limpet-decision"] == told.get("reason", headers["x-limpet-decision"])
            assert headers["x-limpet-decision"].startswith("answered." if answer["status"] < 300 else "refused.")


def test_the_table_of_models_stands_once_and_routes_that_need_it_do_not_switch_it_off(varied: Plan) -> None:
    whole = host(varied)
    told = whole["typed_per_filter_config"][UNDECIDED_FILTER]["filter_context"]
    assert told["models"].startswith("\n=flash\n")
    sent = [route for route in whole["routes"] if "retry_policy" in route.get("route", {})]
    configs = [route["typed_per_filter_config"].get(UNDECIDED_FILTER, {}) for route in sent]
    assert [config.get("disabled", False) for config in configs] == [decided(route) for route in sent]


def test_the_program_of_every_attempt_is_in_the_routes_once_and_in_no_cluster(varied: Plan) -> None:
    program = without_comments(ATTEMPT_LUA).encode()
    own = replace(settings_for(varied, GATEWAY), probe_socket="/run/probe.sock")
    written = [(kind, encode(kind, body).body) for kind, body in everything(varied, own)]
    assert [kind for kind, body in written if program in body] == [LISTENER, ROUTES], "of probes, and of clients"
    assert all(len(body) < 16_000 for kind, body in written if kind == CLUSTER)


def listener(made: Plan, gateway: EnvoySettings = GATEWAY) -> dict[str, Any]:
    own = settings_for(made, gateway)
    (body,) = (body for kind, body in common_resources(made, own) if kind == LISTENER and body["name"] == "limpet")
    config: dict[str, Any] = body["filter_chains"][0]["filters"][0]["typed_config"]
    return config


def test_ext_proc_is_given_every_header_it_may_look_at(varied: Plan) -> None:
    filters = {each["name"]: each["typed_config"] for each in listener(varied)["http_filters"]}
    (state,) = filters["limpet.head"]["on_request_headers"]
    lines = state["format_string"]["text_format_source"]["inline_string"].split("\n")
    headers = dict.fromkeys((*READ_HEADERS, "x-mine"))
    assert lines == [*(f"{name} %REQ({name})%" for name in headers), ":route %ROUTE_NAME%"]
    assert state["shared_with_upstream"] == "TRANSITIVE", "for the program that blanks its keys in errors"
    ext_proc = filters["limpet.ext_proc"]
    assert ext_proc["request_attributes"] == [f"filter_state['{state['object_key']}']"]
    assert ext_proc["failure_mode_allow"] is True


def test_the_buffer_comes_after_ext_proc_and_the_router_last(varied: Plan) -> None:
    names = [each["name"] for each in listener(varied)["http_filters"]]
    assert names.index("limpet.ext_proc") < names.index("envoy.filters.http.buffer")
    assert names[-1] == "envoy.filters.http.router"


def test_a_policy_that_asks_for_header_mode_gets_it(build: Build) -> None:
    made = build.plan(build.raw("Provider"), build.secret(), build.raw("StickyPolicy", "default", routing="Header"))
    (ext_proc,) = (each for each in listener(made)["http_filters"] if each["name"] == "limpet.ext_proc")
    assert ext_proc["typed_config"]["processing_mode"]["request_header_mode"] == "SEND"


def test_what_envoy_decides_alone_has_a_name_that_no_decision_has(varied: Plan) -> None:
    text = json.dumps(listener(varied))
    assert '"reason": "fallback.undecided"' in text
    assert "fallback.undecided" not in words(DecisionReason)


_FLASH: dict[str, Any] = {
    "name": "flash",
    "perMillionTokens": {"input": "0.15", "cacheRead": "0.003", "output": "0.60"},
}
WINDOWS = {"windows": [{"name": "peak", "from": "01:00", "to": "04:00", "factor": "2"}]}
TIERS = {"models": [_FLASH | {"longContext": [{"aboveTokens": 200_000, "factor": "2"}]}]}
LONG_WRITES = {"models": [_FLASH | {"perMillionTokens": _FLASH["perMillionTokens"] | {"cacheWrite1h": "0.3"}}]}


def test_equal_plans_have_equal_catalogs_and_every_change_another_revision(build: Build) -> None:
    base = [build.raw("Provider"), build.secret(), build.raw("Pricing"), build.raw("StickyPolicy", "default")]
    revision = catalog(build.plan(*base)).revision
    assert catalog(build.plan(*reversed(base))).revision == revision
    others = [
        [build.raw("Provider", weight=7), *base[1:]],
        [build.raw("Provider", drain=True), *base[1:]],
        [build.raw("Provider", limits={"requestsPerMinute": 5}), *base[1:]],
        [build.raw("Provider", "another"), *base],
        base[:2],
        *([*base[:2], build.raw("Pricing", **change), base[3]] for change in (WINDOWS, TIERS, LONG_WRITES)),
        [*base[:3], build.raw("StickyPolicy", "default", mode="Off")],
        [*base[:3], build.raw("StickyPolicy", "default", failover={"policy": "SaveCache", "saveCacheWithin": "1s"})],
    ]
    revisions = {catalog(build.plan(*raws)).revision for raws in others}
    assert len(revisions) == len(others)
    assert revision not in revisions


def test_the_catalog_knows_neither_addresses_nor_keys(build: Build) -> None:
    base = [build.raw("Provider"), build.secret()]
    moved = [build.raw("Provider", url="https://other.example/v1"), build.secret(**{"api-key": "sk-2"})]
    assert catalog(build.plan(*base)) == catalog(build.plan(*moved))


VERSIONS = """
import sys
from limpet_operator.planning.plan import plan
from limpet_operator.publish.encode import encode
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.lua import without_comments
from limpet_operator.publish.paths import MODELS
from limpet_operator.publish.publication import provider_resources
from limpet_operator.resources.objects import Parser
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore
from pathlib import Path
store = FileStore(Parser.load())
store.replace(files.scan(Path(sys.argv[1])).documents)
made = plan(store.objects, {"DEEPSEEK_API_KEY": "k"})
gateway = EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",))
for provider in made.providers:
    for kind, body in provider_resources(provider, gateway):
        resource = encode(kind, body)
        print(resource.name, resource.digest)
"""


def test_all_replicas_call_the_same_content_the_same_version() -> None:
    """Programmed is decided by comparing them; the bytes themselves differ between processes."""
    said = {
        subprocess.run(
            [sys.executable, "-c", VERSIONS, str(EXAMPLES / "quickstart")],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(said) == 1
    assert said.pop().strip()


@pytest.mark.parametrize("shares_port", [True, False])
def test_only_a_gateway_that_says_so_has_its_port_alone(varied: Plan, shares_port: bool) -> None:
    resources = everything(varied, replace(GATEWAY, shares_port=shares_port))
    (client,) = (body for kind, body in resources if kind == LISTENER)
    shared = Listener.parse(encode(LISTENER, client).body).enable_reuse_port
    assert shared is (None if shares_port else False), "Envoy's own default is true"
