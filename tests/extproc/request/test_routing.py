"""One request, opened and decided: refused, or routed with all that its log entry and its attempts need."""

import json
from typing import Any

import msgspec
import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from msgspec.structs import replace
from tests.extproc.conftest import CHEAP, Make
from tests.extproc.splicing import spliced

from limpet_extproc.contract.catalog import CacheFields, CatalogProvider, Model
from limpet_extproc.contract.prices import Price, PriceRules, PriceTier
from limpet_extproc.contract.record import encode
from limpet_extproc.decision.health import HealthState
from limpet_extproc.decision.provider_states import ProviderStates
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.envoy.responses import Responses
from limpet_extproc.memory import Remembered, Warm
from limpet_extproc.request.edits import Edits
from limpet_extproc.request.opened import Opened
from limpet_extproc.request.refusals import unknown_model
from limpet_extproc.request.routing import Routing, decide
from limpet_extproc.request.splices import Splice

NOW = 1000.0
SECRET_TEXT = "the launch code is 4711"


def routed(opened: Any, states: ProviderStates | None = None) -> Routing:
    assert isinstance(opened, Opened)
    routing = decide(opened, None, states or ProviderStates(), NOW, b"seed")
    assert isinstance(routing, Routing)
    return routing


@pytest.mark.parametrize(("fields", "alike"), [({}, False), ({"prompt_cache_key": "k"}, True)])
def test_a_key_that_is_another_than_the_last_turns_is_noted(make: Make, fields: Any, alike: bool) -> None:
    model = Model("flash", "flash", 0, CHEAP, cache_key=True)
    snapshot = make.snapshot(CatalogProvider("a", (model,), cache_fields=CacheFields(cache_key_rpm=15)))
    opened = make.opened(snapshot, make.body(**fields))
    assert isinstance(opened, Opened)
    found = [decide(opened, None, ProviderStates(), NOW, b"seed", before) for before in (14, 15)]
    settings = [each.record.settings for each in found if isinstance(each, Routing)]
    assert (settings[0] == settings[1]) == alike


def refused(opened: Any) -> Refusal:
    answer = opened if isinstance(opened, Refusal) else decide(opened, None, ProviderStates(), NOW, b"seed")
    assert isinstance(answer, Refusal)
    return answer


@pytest.fixture
def snapshot(make: Make) -> Snapshot:
    return make.snapshot(make.provider("a"), make.provider("b"))


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason", "param", "code"),
    [
        (b"{", {}, 400, "refused.bad_request", None, None),
        (b'{"messages":[]}', {}, 400, "refused.bad_request", "model", None),
        ({"model": "nope"}, {}, 404, "refused.unknown_model", "model", "model_not_found"),
        ({"provider": 3}, {}, 400, "refused.bad_request", "provider", None),
        ({"provider": {"only": ["x"]}}, {}, 400, "refused.nobody_left", "provider.only", "no_provider_left"),
        ({"provider": {"ignore": ["a", "b"]}}, {}, 400, "refused.nobody_left", "provider.ignore", "no_provider_left"),
        ({"provider": {"zdr": True}}, {}, 400, "refused.nobody_left", "provider.zdr", "no_provider_left"),
        ({"provider": {"orders": ["a"]}}, {}, 400, "refused.bad_request", "provider.orders", None),
        ({"models": ["flash", "pro"]}, {}, 400, "refused.bad_request", "models", None),
        ({}, {"content_encoding": "gzip"}, 415, "refused.content_encoding", None, "unsupported_content_encoding"),
    ],
)
def test_a_refusal_is_an_error_object_of_openais_api(
    make: Make,
    snapshot: Snapshot,
    body: Any,
    headers: dict[str, Any],
    status: int,
    reason: str,
    param: str | None,
    code: str | None,
) -> None:
    raw = body if isinstance(body, bytes) else make.body(**body)
    refusal = refused(make.opened(snapshot, raw, **headers))
    assert (refusal.status, refusal.reason) == (status, reason)
    error = json.loads(OpenAIChat().error_body(refusal))["error"]
    assert (error["param"], error["code"], error["type"]) == (param, code, "invalid_request_error")
    assert error["message"]


def test_an_unknown_model_is_answered_with_what_exists(make: Make, snapshot: Snapshot) -> None:
    assert "Available models: flash." in refused(make.opened(snapshot, make.body(model="x"))).message
    assert "Available models: none yet." in refused(make.opened(make.snapshot(), make.body())).message
    long = refused(make.opened(snapshot, make.body(model="x" * 10_000)))
    assert len(long.message) < 300


@pytest.mark.parametrize(
    ("api", "model", "says"),
    [
        ("OpenAIChat", "gpt-6.1-sol", "not served here. Did you mean 'openai/gpt-6.1-sol'? Available models: "),
        ("OpenAIChat", "mistral/Claude", "Did you mean 'claude'?"),
        ("OpenAIChat", "openai/gpt-6.1-sole", "Did you mean 'openai/gpt-6.1-sol'?"),
        ("OpenAIChat", "zzzz", "The model 'zzzz' is not served here. Available models: claude, openai/gpt-6.1-sol."),
        (
            "AnthropicMessages",
            "openai/gpt-6.1-sol",
            (
                "The model 'openai/gpt-6.1-sol' is served here, but not by Messages (/v1/messages): ask for it by chat "
                "completions (/v1/chat/completions). Available models of Messages (/v1/messages): claude."
            ),
        ),
        (
            "embeddings",
            "claude",
            (
                "is served here, but not by /v1/embeddings: ask for it by Messages (/v1/messages) or chat completions "
                "(/v1/chat/completions)."
            ),
        ),
        ("message_batches", "", "by /v1/messages/batches. A Provider lists 'message_batches' in spec.endpoints."),
        ("OpenAIResponses", "", "by Responses (/v1/responses). A Provider lists 'OpenAIResponses' in spec.dialects."),
    ],
)
def test_a_model_that_an_api_does_not_serve_is_answered_with_what_does(
    make: Make, api: str, model: str, says: str
) -> None:
    claude = replace(make.provider("a", dialects=("AnthropicMessages",)), translated=("OpenAIChat",))
    served = make.snapshot(
        replace(claude, models=(Model("claude", "claude"),)),
        replace(make.provider("b"), models=(Model("openai/gpt-6.1-sol", "gpt"),)),
    )
    refusal = unknown_model(model, api, served)
    assert (refusal.status, refusal.code, refusal.param) == (404, "model_not_found", "model")
    assert says in refusal.message


def test_nobody_left_lists_the_providers_of_the_model(make: Make, snapshot: Snapshot) -> None:
    message = refused(make.opened(snapshot, make.body(provider={"only": ["x"]}))).message
    assert message == "'provider.only' rules out every provider of 'flash'. It is served by: a, b."


@pytest.mark.parametrize(
    ("provider", "advice"),
    [
        ({"only": ["A"]}, "Did you mean 'a'?"),
        ({"zdr": True}, "a Provider declares it in spec.dataPolicy.zeroRetention."),
        ({"data_collection": "deny"}, "a Provider declares it in spec.dataPolicy.trainsOnPrompts."),
        ({"max_price": {"prompt": 0.0001}}, "All that meet your other demands cost more for this request."),
        ({"max_price": {"completion": 0.0001}}, "All that meet your other demands cost more for this request."),
        ({"quantizations": ["fp8"]}, "only a Provider of vendor OpenRouter"),
    ],
)
def test_nobody_left_explains_what_would_help(
    make: Make, snapshot: Snapshot, provider: dict[str, Any], advice: str
) -> None:
    assert advice in refused(make.opened(snapshot, make.body(provider=provider))).message


def test_a_limit_that_nobody_meets_says_whose_price_is_unknown(make: Make) -> None:
    tables = make.snapshot(make.provider("a", price=None), make.provider("b"))
    message = refused(make.opened(tables, make.body(provider={"max_price": {"prompt": 0.0001}}))).message
    assert message.endswith("The price of these is unknown, which meets no limit: a.")


@pytest.mark.parametrize(
    ("lists", "read"),
    [
        ({"ignore": ["a"]}, {}),
        ({"ignore": ["a", "deepinfra"]}, {"ignore": ["a", "deepinfra"]}),
        ({"ignore": ["deepinfra"]}, {"ignore": ["deepinfra"]}),
        ({"ignore": []}, {}),
        ({"order": ["relay", "deepinfra"]}, {}),
        ({"order": ["deepinfra"]}, {"order": ["deepinfra"]}),
    ],
    ids=str,
)
def test_a_provider_that_reads_the_object_gets_the_whole_list_to_ignore(
    make: Make, lists: dict[str, Any], read: dict[str, Any]
) -> None:
    snapshot = make.snapshot(make.provider("a"), make.provider("relay", reads_provider_object=True))
    body: bytes = make.body(provider=lists)
    edits = routed(make.opened(snapshot, body)).edits
    assert json.loads(spliced(body, edits.of("relay") if edits else ()))["provider"] == read


@pytest.mark.parametrize("demand", [{"zdr": True}, {"data_collection": "deny"}])
def test_nobody_left_does_not_mention_providers_that_other_demands_ruled_out(
    make: Make, demand: dict[str, Any]
) -> None:
    snapshot = make.snapshot(make.provider("a", zero_retention=True), make.provider("b"))
    message = refused(make.opened(snapshot, make.body(provider={"only": ["b"], **demand}))).message
    assert "None of the remaining providers is known" in message


def test_only_a_few_of_many_names_are_compared_with_the_providers(make: Make, snapshot: Snapshot) -> None:
    """Comparing takes long, and all requests wait for it; a name in other letters is found at any place."""
    few = {"only": ["x", "y", "aa"]}
    assert "Did you mean" not in refused(make.opened(snapshot, make.body(provider=few))).message
    other_letters = {"only": ["x", "y", "A"]}
    assert "Did you mean 'a'?" in refused(make.opened(snapshot, make.body(provider=other_letters))).message


@pytest.mark.parametrize("encoding", ["", "identity", "Identity"])
def test_a_body_that_is_not_encoded_may_say_so(make: Make, snapshot: Snapshot, encoding: str) -> None:
    routed(make.opened(snapshot, make.body(), content_encoding=encoding))


def after(body: bytes, routing: Routing) -> Any:
    """The body that every provider gets."""
    assert routing.edits is not None
    assert not routing.edits.own
    return json.loads(spliced(body, routing.edits.common))


@pytest.mark.parametrize(
    "ours",
    [
        {"session_id": "s"},
        {"session_id": None},
        {"provider": {}},
        {"provider": {"sort": "price"}, "allow_fallbacks": False},
        {"provider": None},
        {"allow_fallbacks": True},
        {"models": ["flash"]},
        {"models": None, "session_id": "s"},
    ],
)
def test_fields_that_are_meant_for_us_never_reach_a_provider(
    make: Make, snapshot: Snapshot, ours: dict[str, Any]
) -> None:
    body = make.body(temperature=1, **ours, user="u")
    assert after(body, routed(make.opened(snapshot, body))) == json.loads(make.body(temperature=1, user="u"))


def test_a_body_that_suits_every_provider_is_not_touched(make: Make, snapshot: Snapshot) -> None:
    assert routed(make.opened(snapshot, make.body(user="u", prompt_cache_key="k"))).edits is None


def test_a_model_that_is_called_otherwise_anywhere_in_the_order_is_located(make: Make) -> None:
    snapshot = make.snapshot(make.provider("a"), make.provider("b", upstream="B"))
    body = make.body('"model":"x"')
    assert routed(make.opened(snapshot, body)).edits == Edits((Splice(body.index(b'"flash"'), 7, True),))


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "first.scored"),
        ({"provider": {}}, "first.scored"),
        ({"provider": {"order": [], "only": [], "ignore": []}}, "first.scored"),
        ({"provider": {"allow_fallbacks": True}}, "first.scored"),
        ({"allow_fallbacks": True}, "first.scored"),
        ({"provider": None}, "first.scored"),
        ({"allow_fallbacks": False}, "bypass.allow_fallbacks"),
        ({"provider": {"allow_fallbacks": False}}, "bypass.allow_fallbacks"),
        ({"provider": {"allow_fallbacks": True}, "allow_fallbacks": False}, "first.scored"),
        ({"provider": {}, "allow_fallbacks": False}, "bypass.allow_fallbacks"),
        ({"provider": {"order": ["b"]}}, "bypass.order"),
        ({"provider": {"only": ["b"]}}, "bypass.only"),
        ({"provider": {"ignore": ["a"]}}, "bypass.ignore"),
        ({"provider": {"sort": "latency"}}, "bypass.sort"),
    ],
)
def test_only_a_demand_is_a_demand(make: Make, snapshot: Snapshot, fields: dict[str, Any], reason: str) -> None:
    routing = routed(make.opened(snapshot, make.body(**fields)))
    assert (routing.decision.reason, routing.record.learn) == (reason, reason == "first.scored")


@pytest.mark.parametrize(
    ("policy", "fields", "learn"),
    [
        ({}, {}, True),
        ({"mode": "Observe"}, {}, True),
        ({"mode": "Off"}, {}, False),
        ({}, {"provider": {"sort": "price"}}, True),
        ({}, {"provider": {"sort": "price", "ignore": ["x"]}}, False),
        ({}, {"provider": {"sort": "latency"}}, False),
        ({"client_order": "StickyWithin"}, {"provider": {"sort": "price"}}, True),
        ({"client_order": "StickyWithin", "mode": "Off"}, {"provider": {"sort": "price"}}, False),
    ],
)
def test_an_outcome_is_learned_where_stickiness_has_a_say(
    make: Make, policy: dict[str, Any], fields: dict[str, Any], learn: bool
) -> None:
    snapshot = make.snapshot(make.provider("a"), **policy)
    assert routed(make.opened(snapshot, make.body(**fields))).record.learn is learn


def test_the_record_has_what_the_outcome_will_need_and_no_word_of_the_prompt(make: Make) -> None:
    snapshot = make.snapshot(
        make.provider("a", cache_ttl_s=60.0),
        make.provider("b", caches=False),
        spread_within_percent=0.0,
        max_providers=2,
    )
    body = make.body(SECRET_TEXT, user="alice")
    opened = make.opened(snapshot, body, authorization="Bearer key-of-alice", x_session_id="session-of-alice")
    routing = routed(opened)
    record = routing.record
    assert dict(zip(record.order, record.ttls_s, strict=True)) == {"a": 60.0, "b": 0.0}
    assert (record.key, record.model, record.identified_by) == (opened.query.key, "flash", "x-session-id")
    assert (record.started_s, record.prompt_tokens, record.max_providers) == (NOW, len(body) // 3, 2)
    written = encode(record)
    for word in (SECRET_TEXT, "alice", "session-of"):
        assert word not in written


def test_a_policy_may_say_how_long_to_remember_but_not_where_it_does_not_pay(make: Make) -> None:
    snapshot = make.snapshot(make.provider("a"), make.provider("b", min_tokens=10_000), memory_ttl_s=7.0)
    record = routed(make.opened(snapshot, make.body())).record
    assert dict(zip(record.order, record.ttls_s, strict=True)) == {"a": 7.0, "b": 0.0}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"secret": b"another"}, False),
        ({"authorization": "Bearer another"}, False),
        ({"x_other": "1"}, True),
        ({"body": {"user": "bob"}}, False),
        ({"body": {"temperature": 1}}, True),
        ({"body": {"model": "pro"}}, False),
        ({"body": {"text": "Another"}}, False),
        ({"body": {"session_id": "s"}}, False),
    ],
)
def test_a_conversation_is_its_tenants_users_and_models_own(make: Make, change: dict[str, Any], same: bool) -> None:
    flash = make.provider("a")
    pro = msgspec.structs.replace(flash.models[0], name="pro")
    snapshot = make.snapshot(msgspec.structs.replace(flash, models=(*flash.models, pro)))
    base: dict[str, Any] = {"authorization": "Bearer alice", "body": {}}
    one, other = (
        make.opened(snapshot, make.body(**fields.pop("body")), **fields) for fields in ({**base}, {**base, **change})
    )
    assert (one.query.key == other.query.key) is same


def test_the_client_hears_why_should_all_fail(make: Make, snapshot: Snapshot) -> None:
    down = ProviderStates(health={"a": HealthState(3, "down", NOW - 5, NOW + 5)})
    assert routed(make.opened(snapshot, make.body())).why == ""
    assert routed(make.opened(snapshot, make.body()), down).why.startswith("a failed 3 times in a row")
    last = routed(make.opened(snapshot, make.body()), down)
    assert (last.decision.order, last.record.excluded) == (("b", "a"), {"a": "down"})
    narrow = make.opened(snapshot, make.body(provider={"allow_fallbacks": False}))
    of_the_other = routed(narrow, down)
    assert of_the_other.decision.order == ("b",)
    assert of_the_other.why.startswith("a failed"), "what is wrong with one that is not tried is said too"


@pytest.mark.parametrize(
    ("shown", "remembered", "told"),
    [
        (("Cache",), Remembered((Warm("a", NOW + 60),), cause="prefix_changed(tools)"), "prefix_changed(tools)"),
        (("Cache",), Remembered((Warm("a", NOW + 60),)), ""),
        (("Cost",), Remembered((Warm("a", NOW + 60),), cause="hit"), ""),
        (("Cache",), None, ""),
    ],
)
def test_where_the_policy_shows_it_a_response_says_what_the_last_turn_read(
    make: Make, shown: tuple[str, ...], remembered: Remembered | None, told: str
) -> None:
    opened = make.opened(make.snapshot(make.provider("a"), shown_headers=shown), make.body())
    assert isinstance(opened, Opened)
    routing = decide(opened, remembered, ProviderStates(), NOW, b"seed")
    assert isinstance(routing, Routing)
    assert routing.last_read == told
    head, written = opened.head, Responses()
    for _ in range(2):
        response = pb.ProcessingResponse.FromString(written.routed(routing, head))
        decision = response.dynamic_metadata.fields["limpet.decision"].struct_value.fields
        assert decision["cache"].string_value == told
        assert decision["reason"].string_value == routing.decision.reason


@pytest.mark.parametrize(
    ("policy", "warm", "save_cache_s"),
    [
        ({"failover": "SaveCache", "save_cache_within_s": 5.0}, True, 5.0),
        ({"failover": "SaveCache", "save_cache_within_s": 5.0}, False, 0.0),
        ({"failover": "SaveRequest", "save_cache_within_s": 5.0}, True, 0.0),
        ({"failover": "SaveCache", "save_cache_within_s": 5.0, "on_timeout": "NextProvider"}, True, 5.0),
        ({"failover": "SaveCache", "save_cache_within_s": 5.0, "mode": "Observe"}, True, 0.0),
    ],
)
def test_a_warm_provider_is_waited_for_where_the_policy_saves_caches(
    make: Make, policy: dict[str, Any], warm: bool, save_cache_s: float
) -> None:
    opened = make.opened(make.snapshot(make.provider("a"), make.provider("b"), **policy), make.body())
    assert isinstance(opened, Opened)
    remembered = Remembered((Warm("b", NOW + 60),)) if warm else None
    routing = decide(opened, remembered, ProviderStates(), NOW, b"seed")
    assert isinstance(routing, Routing)
    assert routing.tries.save_cache_s == save_cache_s
    assert len(set(routing.decision.order)) == 2


@pytest.mark.parametrize(("tier", "kept"), [("flex", "flex"), ("anything", ""), (None, "")])
def test_a_service_tier_counts_where_it_has_a_price(make: Make, tier: str | None, kept: str) -> None:
    rules = PriceRules(service_tiers={"flex": 0.5})
    snapshot = make.snapshot(make.provider("a"), make.provider("b", rules=rules))
    opened = make.opened(snapshot, make.body(service_tier=tier))
    assert isinstance(opened, Opened)
    assert opened.query.service_tier == kept
    assert routed(opened).record.service_tier == kept


@pytest.mark.parametrize(("rate", "first"), [(None, "b"), (0.75, "a"), (1.0, "b"), (0.9, "b")])
def test_the_tier_of_a_long_prompt_goes_by_how_the_model_counts(make: Make, rate: float | None, first: str) -> None:
    usual, twice, between = (Price(usd, 4 * usd, usd / 10, usd) for usd in (1.0, 2.0, 1.6))
    tiers = PriceRules((PriceTier(8_000, twice),))
    providers = (make.provider("a", price=usual, rules=tiers), make.provider("b", price=between))
    tables = make.snapshot(*providers, spread_within_percent=0)
    opened = make.opened(tables, make.body("word " * 5_400))  # 27,000 bytes: 9,000 tokens as estimated
    routing = routed(opened, ProviderStates(token_rates={} if rate is None else {make.model: rate}))
    assert routing.record.order[0] == first
    assert routing.record.prompt_tokens > 9_000  # what is learned from stays the estimate
