"""What is held against a provider by the entries of the access log, and what is not."""

from typing import Any

import pytest
from msgspec.structs import replace
from tests.extproc.envoy.log_world import CONVERSATIONS, NOW, RECORD, World, bad, entry, note

from limpet_extproc.providers.events import AttemptLimited, TrialBegan


async def test_failures_count_and_an_answer_brings_the_provider_back(world: World) -> None:
    await world.take(*(bad("a", 500, "ServerError", record=record) for record in CONVERSATIONS[:3]))
    assert world.changes == [("a", "down")]
    await world.take(entry("a", first_byte_s=0.25))
    assert world.changes == [("a", "down")], "it was under way when the provider went out"
    await world.take(entry("a", first_byte_s=0.25, record=replace(RECORD, started_s=NOW)))
    assert world.changes == [("a", "down"), ("a", None)]
    assert world.tracker.states.speeds["flash"]["a"].first_token_s == pytest.approx(0.25)
    assert world.tracker.states.learned["a"].samples == 1, "what was learned before its return is forgiven"
    assert world.counted("limpet_attempts_total", provider="a", outcome="failed_500") == 3
    assert world.counted("limpet_attempts_total", provider="a", outcome="ok") == 2


async def test_what_no_provider_answered_counts_for_none(world: World) -> None:
    refused = entry("a", 404, record=None, usage=None, answered=False, details="limpet_refused.unknown_model")
    await world.take(refused, entry("a", 503, usage=None, answered=False))
    assert (
        world.counted("limpet_requests_total", provider="none", decision="refused.unknown_model", outcome="refused")
        == 1
    )
    assert world.counted("limpet_requests_total", provider="none", decision=RECORD.reason, outcome="failed") == 1
    assert world.tracker.states.learned == {}


async def test_a_429_takes_a_model_out_for_as_long_as_it_asks_and_no_other_model(world: World) -> None:
    await world.take(bad("a", 429, "Limited", retry_after="30"))
    assert world.changes == [("a", "over_limit")]
    states = world.tracker.states
    assert states.judge("a", "flash", NOW).until_s == NOW + 30
    assert states.judge("a", "another-model", NOW).trouble is None


@pytest.mark.parametrize("cause", ["CredentialRefused", "NoCredit", "Redirected"])
async def test_key_credit_and_address_concern_all_models_of_a_provider(world: World, cause: str) -> None:
    await world.take(*[bad("a", 400, cause)] * 3)
    assert world.tracker.states.judge("a", "another-model", NOW).trouble == "down"


async def test_neither_a_client_that_leaves_nor_its_own_mistake_counts_against_a_provider(world: World) -> None:
    await world.take(entry("a", 0), bad("a", 400, "BadRequest"), bad("a", 413, "TooLarge"), entry("", 503))
    assert world.tracker.states.all_well


PERHAPS_POISON = ["ServerError", "Forbidden", "ErrorInAnswer", "NotAnAnswer", "ModelNotFound", "UnusableStatus"]


@pytest.mark.parametrize("cause", PERHAPS_POISON)
async def test_a_request_that_fails_everywhere_takes_no_provider_out_however_often(world: World, cause: str) -> None:
    notes = {number: note(name, 500, cause) for number, name in enumerate("abc", 1)}
    await world.take(*[entry("c", 500, attempts=3, notes=notes)] * 30)
    assert world.changes == []


@pytest.mark.parametrize("cause", PERHAPS_POISON)
async def test_a_request_that_fails_at_one_provider_alone_takes_it_out_no_more(world: World, cause: str) -> None:
    await world.take(*[entry("b", attempts=2, notes={1: note("a", 500, cause)})] * 30)
    assert world.changes == []


@pytest.mark.parametrize("cause", PERHAPS_POISON)
async def test_three_conversations_that_fail_everywhere_in_a_row_show_that_all_are_down(
    world: World, cause: str
) -> None:
    notes = {number: note(name, 500, cause) for number, name in enumerate("abc", 1)}
    await world.take(*(entry("c", 500, attempts=3, notes=notes, record=record) for record in CONVERSATIONS[:2]))
    assert world.changes == []
    await world.take(entry("c", 500, attempts=3, notes=notes, record=CONVERSATIONS[2]))
    assert world.changes == [("a", "down"), ("b", "down"), ("c", "down")]


async def test_an_api_that_is_not_there_takes_no_model_out(world: World) -> None:
    gone = {1: note("a", 404, "PathNotFound")}
    await world.take(*(entry("b", attempts=2, notes=gone, record=record) for record in CONVERSATIONS * 10))
    assert world.changes == []
    assert world.tracker.states.all_well


async def test_a_prompt_that_breaks_every_connection_takes_no_provider_out(world: World) -> None:
    await world.take(*[entry("b", 503, attempts=2, flags=("upstream_remote_reset",), usage=None)] * 9)
    assert world.changes == []


@pytest.mark.parametrize("cause", ["Limited", "Overloaded"])
async def test_limits_count_however_many_providers_are_over_theirs(world: World, cause: str) -> None:
    notes = {number: note(name, 429, cause, retry_after="120") for number, name in enumerate("abc", 1)}
    await world.take(entry("c", 429, attempts=3, notes=notes))
    assert world.changes == [("a", "over_limit"), ("b", "over_limit"), ("c", "over_limit")]


async def test_what_one_provider_refuses_is_not_the_others_fault(world: World) -> None:
    first = {1: note("a", 500, "ServerError"), 2: note("b", 400, "BadRequest")}
    await world.take(*(entry("b", 400, attempts=2, notes=first, record=record) for record in CONVERSATIONS))
    assert world.tracker.states.all_well
    limited = {1: note("a", 429, "Limited", retry_after="9"), 2: note("b", 400, "BadRequest")}
    await world.take(entry("b", 400, attempts=2, notes=limited))
    assert world.changes == [("a", "over_limit")]


@pytest.mark.parametrize(
    ("cause", "out"),
    [
        ("ServerError", False),
        ("ModelNotFound", False),
        ("Limited", False),
        ("Forbidden", False),
        ("CredentialRefused", True),
        ("Redirected", True),
    ],
)
async def test_requests_that_no_worker_has_read_tell_nothing_of_the_model_they_asked_for(
    world: World, cause: str, out: bool
) -> None:
    await world.take(*[bad("a", 400, cause, record=None, retry_after="30")] * 5)
    assert (world.tracker.states.judge("a", "flash", NOW).trouble is not None) == out


async def test_a_key_that_is_refused_counts_however_many_refuse(world: World) -> None:
    notes = {1: note("a", 401, "CredentialRefused"), 2: note("b", 401, "CredentialRefused")}
    await world.take(*[entry("b", 503, attempts=2, notes=notes)] * 3)
    assert world.changes == [("a", "down"), ("b", "down")]


async def test_what_fails_here_and_not_there_is_held_against_the_provider_once(world: World) -> None:
    twice = replace(RECORD, order=("a", "a", "b"), ttls_s=(300.0, 300.0, 300.0))
    notes = {1: note("a", 500, "ServerError"), 2: note("a", 500, "ServerError")}
    records = [replace(twice, key=record.key) for record in CONVERSATIONS]
    await world.take(*(entry("b", record=record, attempts=3, notes=notes) for record in records[:2]))
    assert world.changes == []
    await world.take(entry("b", record=records[2], attempts=3, notes=notes))
    assert world.changes == [("a", "down")]


async def test_a_connection_that_closed_on_reuse_is_no_failure_and_moves_no_conversation(world: World) -> None:
    again = replace(RECORD, tries=2)
    await world.take(*[entry("a", record=again, attempts=2)] * 5)
    assert world.tracker.states.all_well
    assert [warm.provider for warm in await world.warm()] == ["a"]
    assert world.tried[-1] == ["a ConnectionFailed", "a 200"]


@pytest.mark.parametrize(
    ("attempts", "notes", "last", "tried"),
    [
        (3, {}, ("b", 200), ["a ConnectionFailed", "a ConnectionFailed", "b 200"]),
        (2, {1: note("a", 401, "CredentialRefused")}, ("b", 200), ["a 401", "b 200"]),
        (3, {2: note("a", 503, "Overloaded")}, ("b", 200), ["a ConnectionFailed", "a 503", "b 200"]),
        (
            4,
            {1: note("a", 500, "ServerError")},
            ("c", 200),
            ["a 500", "b ConnectionFailed", "b ConnectionFailed", "c 200"],
        ),
        (2, {1: note("a", 308, "Redirected"), 2: note("b", 204, "NotAnAnswer")}, ("b", 502), ["a 308", "b 204"]),
    ],
)
async def test_every_attempt_is_listed_in_its_order(
    world: World, attempts: int, notes: dict[int, Any], last: tuple[str, int], tried: list[str]
) -> None:
    record = replace(RECORD, tries=2)
    await world.take(entry(last[0], last[1], record=record, attempts=attempts, notes=notes))
    assert world.tried == [tried]


@pytest.mark.parametrize(
    ("tries", "attempts", "tried"),
    [
        (2, 2, ["a 429", "a 200"]),
        (2, 3, ["a 429", "a ConnectionFailed", "b 200"]),
        (2, 4, ["a 429", "a ConnectionFailed", "b ConnectionFailed", "b 200"]),
        (1, 3, ["a 429", "a ConnectionFailed", "b 200"]),
    ],
)
async def test_a_provider_that_was_waited_for_has_one_more_attempt(
    world: World, tries: int, attempts: int, tried: list[str]
) -> None:
    last = tried[-1].partition(" ")[0]
    notes = {1: note("a", 429, "Limited", retry_after="1")}
    record = replace(RECORD, tries=tries)
    await world.take(entry(last, record=record, attempts=attempts, notes=notes, waited=1))
    assert world.tried == [tried]


async def test_a_timeout_without_a_further_attempt_counts_against_the_provider(world: World) -> None:
    record = replace(RECORD, tries=2)
    await world.take(entry("a"), entry("a", 504, record=record, attempts=2, timed_out=True, usage=None))
    assert world.tried[-1] == ["a Timeout"]
    assert await world.warm() == ()
    assert world.counted("limpet_attempts_total", provider="a", outcome="failed_no_answer") == 1
    assert world.counted("limpet_provider_timeouts_total", provider="a") == 1
    assert world.timeouts.recent() == {"a": 1}


async def test_a_failure_is_heard_of_while_another_provider_still_answers_and_counts_once(world: World) -> None:
    notes = {1: note("a", 500, "ServerError")}
    requests = [replace(record, started_s=NOW - number) for number, record in enumerate(CONVERSATIONS[:3])]
    for record in requests:
        under_way = entry("b", attempts=2, notes=notes, record=record, under_way=True)
        await world.take(under_way, under_way)
    assert world.changes == [("a", "down")]
    verdict = world.tracker.states.judge("a", "flash", NOW)
    await world.take(*(entry("b", attempts=2, notes=notes, record=record) for record in requests))
    assert world.tracker.states.judge("a", "flash", NOW) == verdict
    assert world.counted("limpet_requests_total", provider="b", decision=RECORD.reason, outcome="ok") == 3


async def test_a_stall_that_may_be_the_clients_is_not_the_providers(world: World) -> None:
    stalled = ("stream_idle_timeout",)
    await world.take(entry("a"), *[entry("a", 200, flags=stalled, body_bytes=270_000)] * 5)
    assert world.tracker.states.all_well
    assert [warm.provider for warm in await world.warm()] == ["a"]
    await world.take(entry("a", 200, flags=stalled, body_bytes=10_000))
    assert await world.warm() == ()


async def test_an_answer_that_a_client_left_after_its_head_shows_nothing(world: World) -> None:
    for flag in ("downstream_connection_termination", "downstream_remote_reset"):
        await world.take(*[entry("reporting", flags=(flag,), usage=None)] * 5)
        await world.take(entry("a", flags=(flag,), usage=None))
    assert world.tracker.states.all_well
    assert (await world.warm(), await world.failed()) == ((), ())
    labels = {"provider": "a", "decision": RECORD.reason, "outcome": "client_left"}
    assert world.counted("limpet_requests_total", **labels) == 2


async def test_a_stream_that_a_client_left_has_filled_the_cache(world: World) -> None:
    left = ("downstream_connection_termination",)
    await world.take(entry("a", flags=left, usage=None, record=replace(RECORD, streamed=True)))
    assert [warm.provider for warm in await world.warm()] == ["a"]


@pytest.mark.parametrize(
    "end",
    [
        entry("a", 0),
        entry("a", 200, flags=("downstream_remote_reset",), usage=None),
        entry("", 0, usage=None),
        bad("a", 400, "BadRequest"),
        entry("b"),
        entry("b", 400, attempts=2, notes={1: note("a", 500, "ServerError"), 2: note("b", 400, "BadRequest")}),
    ],
    ids=["left before", "left after the head", "left unasked", "refused", "answered elsewhere", "refused elsewhere"],
)
async def test_a_trial_that_shows_nothing_holds_nobody_back(world: World, end: Any) -> None:
    world.tracker.apply(AttemptLimited("a", "flash", 1.0))
    world.now_s += 2
    world.tracker.apply(TrialBegan("a", "flash"))
    assert not world.tracker.states.judge("a", "flash", world.now_s).trial
    await world.take(end)
    assert world.tracker.states.judge("a", "flash", world.now_s).trial


async def test_a_refusal_shows_that_a_provider_is_there_again(world: World) -> None:
    for record in CONVERSATIONS[:3]:
        await world.take(entry("a", 0, flags=("upstream_remote_reset",), usage=None, record=record))
    assert world.tracker.states.judge("a", "flash", NOW).trouble == "down"
    await world.take(bad("a", 400, "BadRequest", record=replace(RECORD, started_s=NOW)))
    assert world.tracker.states.judge("a", "flash", NOW).trouble is None


@pytest.mark.parametrize(
    ("reason", "address", "cause"),
    [
        ("delayed connect error: Connection refused", ("192.0.2.1", 443), "ConnectionRefused"),
        (
            "TLS_error:|268435581:SSL routines:OPENSSL_internal:CERTIFICATE_VERIFY_FAILED",
            ("192.0.2.1", 443),
            "TLSFailed",
        ),
        ("delayed connect error: Connection refused", ("127.0.0.1", 0), "NameNotResolved"),
        ("", ("192.0.2.1", 443), "ConnectionFailed"),
    ],
)
async def test_a_failure_to_connect_is_named_and_concerns_all_models(
    world: World, reason: str, address: tuple[str, int], cause: str
) -> None:
    for record in CONVERSATIONS[:3]:
        built = entry("a", 503, flags=("upstream_connection_failure",), usage=None, record=record)
        built.common_properties.upstream_transport_failure_reason = reason
        socket = built.common_properties.upstream_remote_address.socket_address
        socket.address, socket.port_value = address
        await world.take(built)
    assert world.tried[-1] == [f"a {cause}"]
    judged = world.tracker.states.judge("a", "another-model", NOW)
    assert (judged.trouble, judged.cause) == ("down", cause)


@pytest.mark.parametrize("cause", ["Limited", "Overloaded"])
async def test_over_its_limit_or_overloaded_is_never_down(world: World, cause: str) -> None:
    await world.take(*[bad("a", 529, cause)] * 5)
    judged = world.tracker.states.judge("a", "flash", NOW)
    assert (judged.trouble, judged.cause) == ("over_limit", cause)
    assert world.counted("limpet_attempts_total", provider="a", outcome="limited") == 5


@pytest.mark.parametrize(("asked", "given_s"), [("86400", 300.0), ("120", 120.0), ("-1", None), ("soon", None)])
async def test_what_a_provider_asks_to_wait_is_capped_and_what_is_no_wait_is_none(
    world: World, asked: str, given_s: float | None
) -> None:
    await world.take(bad("a", 429, "Limited", retry_after=asked))
    judged = world.tracker.states.judge("a", "flash", NOW)
    assert (judged.until_s - NOW if judged.trouble else None) == given_s
