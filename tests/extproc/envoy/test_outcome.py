"""Access log entries, built as Envoy sends them, and what becomes of memory, health, averages and counters."""

import asyncio
from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from limpet_extproc.contract import record as records
from limpet_extproc.contract.catalog import Limits
from limpet_extproc.contract.record import Record
from limpet_extproc.envoy.decision_line import RequestSummary
from limpet_extproc.envoy.limited_requests import LimitedRequests
from limpet_extproc.envoy.outcome import Outcomes
from limpet_extproc.envoy.usage import METADATA_KEY, TokenUsage
from limpet_extproc.memory import LastFailure, Remembered, Warm
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.providers.cache_use import CacheUses
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import AttemptLimited, TrialBegan
from limpet_extproc.providers.health_states import HealthChange
from limpet_extproc.providers.limit_events import LimitEvent, RequestEnded, RequestSent
from limpet_extproc.providers.timeouts import TimeoutCount
from limpet_extproc.providers.tracker import ProviderTracker
from limpet_extproc.telemetry.metrics import WorkerMetrics

NOW = 1_760_000_000.0
KEY = bytes(range(16))
RECORD = Record(
    key=KEY.hex(),
    model="flash",
    identified_by="fingerprint",
    reason="first.scored",
    enforce_reason=None,
    order=("a", "b", "c"),
    ttls_s=(300.0, 60.0, 0.0),
    started_s=NOW - 10,
    prompt_tokens=1000,
    max_providers=4,
    learn=True,
)
CONVERSATIONS = [replace(RECORD, key=bytes([number] * 16).hex()) for number in range(5)]
"""The same request, of different ones."""
USAGE = bytes.fromhex("1a03088827 2202080a 32050a0308801e")
"""TokenUsage on the wire: 5,000 input tokens of which 3,840 cached, 10 output tokens."""


def entry(
    provider: str = "a",
    status: int = 200,
    *,
    record: Record | None = RECORD,
    usage: bytes | None = USAGE,
    attempts: int = 1,
    flags: tuple[str, ...] = (),
    notes: dict[int, Any] | None = None,
    found: dict[str, float] | None = None,
    timed_out: bool = False,
    waited: int = 0,
    under_way: bool = False,
    body_bytes: int = 0,
    first_byte_s: float = 0.0,
    answered: bool = True,
    details: str = "via_upstream",
) -> Any:
    built = accesslog_pb2.HTTPAccessLogEntry()
    common = built.common_properties
    common.upstream_cluster = provider
    if provider and answered:
        common.upstream_remote_address.socket_address.address = "192.0.2.1"
    common.upstream_request_attempt_count = attempts
    common.duration.FromMilliseconds(1500)
    common.time_to_first_upstream_tx_byte.FromMilliseconds(5)
    common.time_to_first_upstream_rx_byte.FromMilliseconds(int(first_byte_s * 1000) + 5)
    built.response.response_code_details = details
    for flag in flags:
        setattr(common.response_flags, flag, True)
    built.response.response_code.value = status
    built.response.response_body_bytes = body_bytes
    if under_way:
        common.access_log_type = accesslog_pb2.AccessLogType.DownstreamPeriodic
    for number, noted in (notes or {}).items():
        common.metadata.filter_metadata["limpet.trail"].update({str(number): noted})
    if timed_out:
        common.metadata.filter_metadata["limpet.trail"].update({"timeout": True})
    if waited:
        common.metadata.filter_metadata["limpet.trail"].update({"waited": waited})
    if found is not None:
        common.metadata.filter_metadata["limpet.usage"].update({"v": found})
    if record is not None:
        fields = common.metadata.filter_metadata["limpet.decision"].fields
        fields["reason"].string_value = record.reason
        carried = common.metadata.filter_metadata["limpet.record"].fields
        carried["v"].string_value = records.encode(record)
    if usage is not None:
        common.metadata.typed_filter_metadata[METADATA_KEY].value = usage
    return built


def note(provider: str, status: int, cause: str, *, message: str = "", retry_after: str = "") -> dict[str, str]:
    """What the Lua of a cluster notes of an answer that was none."""
    refused = cause in ("BadRequest", "TooLarge", "ContentRefused")
    return {
        "provider": provider,
        "status": str(status),
        "verdict": "refused" if refused else "failed",
        "cause": cause,
        "says": message,
        "retry_after": retry_after,
    }


def bad(provider: str, status: int, cause: str, *, retry_after: str = "", **more: Any) -> Any:
    """A request whose only attempt ended so."""
    return entry(provider, status, notes={1: note(provider, status, cause, retry_after=retry_after)}, **more)


class Call:
    """The log stream as gRPC hands it over."""

    def __init__(self, *messages: bytes) -> None:
        self._messages = list(messages)

    async def read(self) -> object:
        return self._messages.pop(0) if self._messages else object()


class World:
    """Outcomes over a real memory and real counters; notes who goes out or comes back and what a person is shown."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, str | None]] = []
        self.shown: list[tuple[str, int, TokenUsage | None, float]] = []
        self.tried: list[list[str]] = []
        self.summaries: list[RequestSummary] = []
        self.memory = InProcessMemory()
        self.now_s = NOW
        self.tracker = ProviderTracker(lambda: self.now_s, self._changed)
        self.registry = CollectorRegistry()
        self.caches = CacheUses(lambda: NOW)
        self.complaints, self.timeouts = Complaints(lambda: None), TimeoutCount(lambda: NOW)
        metrics = WorkerMetrics(self.registry)
        self.limit_events: list[LimitEvent] = []
        limited = LimitedRequests(lambda: {"a": Limits(5), "b": Limits(5)}, self.limit_events.append)
        self.outcomes = Outcomes(
            self.memory,
            self.tracker,
            limited,
            metrics,
            self.caches,
            self.complaints,
            self.timeouts,
            lambda: NOW,
            lambda provider: provider == "reporting",
            self._show,
        )

    def _changed(self, change: HealthChange) -> None:
        self.changes.append((change.provider, change.now.trouble))

    def _show(self, summary: RequestSummary) -> None:
        provider = summary.attempts[-1].provider if summary.attempts else ""
        self.summaries.append(summary)
        self.shown.append((provider, summary.status, summary.usage, summary.duration_s))
        self.tried.append([f"{each.provider} {each.status or each.cause}" for each in summary.attempts])

    async def take(self, *entries: Any) -> None:
        """One message an entry."""
        messages = []
        for each in entries:
            message = als_pb2.StreamAccessLogsMessage()
            message.http_logs.log_entry.append(each)
            messages.append(message.SerializeToString())
        assert await self.outcomes.stream(Call(*messages)) == b""

    async def warm(self) -> tuple[Warm, ...]:
        remembered = await self.memory.lookup(KEY, NOW)
        return remembered.warm if remembered else ()

    async def failed(self) -> tuple[str, ...]:
        remembered = await self.memory.lookup(KEY, NOW)
        return remembered.failed_lately(NOW) if remembered else ()

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def world() -> World:
    return World()


async def test_the_provider_that_served_is_remembered_from_the_start_of_the_request(world: World) -> None:
    await world.take(entry("a"))
    assert await world.warm() == (Warm("a", RECORD.started_s + 300.0, 5000, 3840),)


async def test_a_provider_that_served_after_others_failed_takes_over_and_they_stay_behind_it(world: World) -> None:
    await world.take(entry("a"), entry("b", attempts=2))
    assert [(warm.provider, warm.until_s) for warm in await world.warm()] == [
        ("b", RECORD.started_s + 60.0),
        ("a", RECORD.started_s + 300.0),
    ]


async def test_a_provider_that_failed_is_forgotten_where_the_one_that_served_is_not_remembered(world: World) -> None:
    await world.take(entry("a"), entry("c", attempts=3, notes={1: note("a", 500, "ServerError")}))
    assert await world.warm() == ()
    assert await world.failed() == ("a", "b")


async def test_where_no_provider_served_all_that_failed_are_forgotten_and_avoided(world: World) -> None:
    notes = {1: note("a", 500, "ServerError"), 2: note("b", 503, "Overloaded")}
    await world.take(entry("a"), entry("b"), entry("b", 503, attempts=2, notes=notes, usage=None))
    assert await world.warm() == ()
    assert await world.failed() == ("a", "b")


async def test_a_success_ends_what_failed_before(world: World) -> None:
    await world.take(bad("a", 500, "ServerError"))
    assert await world.memory.lookup(KEY, NOW) == Remembered((), None, LastFailure(("a",), NOW))
    await world.take(entry("b"))
    assert await world.failed() == ()


async def test_a_success_where_staying_does_not_pay_leaves_what_failed_elsewhere(world: World) -> None:
    await world.take(bad("a", 500, "ServerError"), entry("c"))
    assert await world.failed() == ("a",)
    await world.take(entry("a", record=replace(RECORD, ttls_s=(0.0, 0.0, 0.0))))
    assert await world.failed() == ()


async def test_a_provider_that_fails_before_the_client_leaves_is_avoided_and_the_one_it_leaves_is_not(
    world: World,
) -> None:
    await world.take(entry("b", 0, attempts=2, notes={1: note("a", 500, "ServerError")}))
    assert await world.failed() == ("a",)


async def test_one_more_try_at_the_same_provider_does_not_count_against_it(world: World) -> None:
    twice = replace(RECORD, tries=2)
    await world.take(entry("a"), entry("a", record=twice, attempts=2))
    assert [warm.provider for warm in await world.warm()] == ["a"]


@pytest.mark.parametrize(
    ("last", "left"),
    [
        (bad("a", 500, "ServerError"), []),
        (bad("a", 429, "Limited"), []),
        (bad("a", 429, "Limited", retry_after="7"), []),
        (bad("a", 308, "Redirected"), []),
        (bad("a", 200, "ErrorInAnswer"), []),
        (bad("a", 204, "NotAnAnswer"), []),
        (bad("a", 400, "CredentialRefused"), []),
        (entry("a", 0, flags=("upstream_remote_reset",)), []),
        (entry("a", 0), ["a"]),  # the client left: no failure
        (bad("a", 400, "BadRequest"), ["a"]),  # the request's own fault
        (entry("", 503), ["a"]),  # no provider was asked
        (bad("a", 500, "ServerError", record=None), ["a"]),  # no record: whose conversation it was is unknown
        (entry("c"), ["a"]),  # served where staying does not pay
    ],
)
async def test_a_failure_forgets_and_nothing_else_does(world: World, last: Any, left: list[str]) -> None:
    await world.take(entry("a"), last)
    assert [warm.provider for warm in await world.warm()] == left
    assert await world.failed() == (() if left else ("a",))


async def test_without_usage_the_estimate_is_remembered_and_the_lack_counted(world: World) -> None:
    await world.take(entry("a", usage=None))
    assert await world.warm() == (Warm("a", RECORD.started_s + 300.0, 1000, 0),)
    assert world.counted("limpet_usage_unreported_total", provider="a") == 1
    assert world.counted("limpet_cached_tokens_total", provider="a", model="flash") == 0


async def test_a_request_that_teaches_nothing_is_still_counted_and_shown(world: World) -> None:
    await world.take(entry("a", record=replace(RECORD, learn=False)))
    assert await world.warm() == ()
    assert world.caches.refresh()["a"].warm == b""
    assert world.counted("limpet_requests_total", provider="a", decision="first.scored", outcome="ok") == 1
    assert len(world.shown) == 1


async def test_tokens_are_counted_as_the_provider_reported_them(world: World) -> None:
    await world.take(entry("a"))
    labels = {"provider": "a", "model": "flash"}
    assert world.counted("limpet_prompt_tokens_total", **labels) == 5000
    assert world.counted("limpet_cached_tokens_total", **labels) == 3840
    assert world.counted("limpet_output_tokens_total", **labels) == 10
    assert world.shown == [("a", 200, TokenUsage(5000, 3840, 10), 1.5)]
    cache = world.caches.refresh()["a"]
    assert (cache.prompt_tokens, cache.cached_tokens, sum(rank > 0 for rank in cache.warm)) == (5000, 3840, 1)


async def test_failures_count_and_an_answer_brings_the_provider_back(world: World) -> None:
    await world.take(*(bad("a", 500, "ServerError", record=record) for record in CONVERSATIONS[:3]))
    assert world.changes == [("a", "down")]
    await world.take(entry("a", first_byte_s=0.25))
    assert world.changes == [("a", "down")], "it was under way when the provider went out"
    await world.take(entry("a", first_byte_s=0.25, record=replace(RECORD, started_s=NOW)))
    assert world.changes == [("a", "down"), ("a", None)]
    assert world.tracker.states.learned["a"].first_byte_s == pytest.approx(0.25)
    assert world.tracker.states.learned["a"].samples == 5
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
        entry("b", 400, attempts=2, notes={1: note("a", 500, "ServerError"), 2: note("b", 400, "BadRequest")}),
    ],
    ids=["left before", "left after the head", "left unasked", "refused", "refused elsewhere"],
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


async def test_a_providers_message_is_kept_without_the_key_in_it(world: World) -> None:
    message = "Incorrect API key provided: sk-abc****wxyz.\nSee the docs."
    await world.take(entry("a", 503, notes={1: note("a", 401, "CredentialRefused", message=message)}))
    failure = world.complaints.standing("a", "", NOW)
    assert failure is not None
    assert (failure.status, failure.cause) == (401, "CredentialRefused")
    assert failure.message == "Incorrect API key provided: [key] See the docs."


async def test_cached_tokens_that_were_not_reported_are_no_zero(world: World) -> None:
    labels = {"provider": "a", "model": "flash"}
    await world.take(entry("a", usage=None, found={"prompt": 900.0, "output": 5.0}))
    assert world.registry.get_sample_value("limpet_cached_tokens_total", labels) is None
    assert world.counted("limpet_cache_unreported_tokens_total", **labels) == 900
    assert world.caches.refresh()["a"].prompt_tokens == 0


async def test_a_whole_answer_without_usage_is_none_where_the_vendor_always_reports_it(world: World) -> None:
    record = replace(RECORD, order=("reporting",))
    await world.take(entry("reporting", record=record), entry("reporting", record=record, usage=None))
    assert world.tried[-1] == ["reporting 200"]
    assert await world.warm() == ()
    assert world.counted("limpet_attempts_total", provider="reporting", outcome="failed_200") == 1
    last = world.complaints.last("reporting", "flash")
    assert last is not None
    assert last.cause == "NotAnAnswer"
    await world.take(entry("reporting", record=replace(record, streamed=True), usage=None))
    assert [warm.provider for warm in await world.warm()] == ["reporting"], "a stream has it only if it is asked for"


async def test_a_stream_is_as_fast_as_its_first_token_not_its_first_byte(world: World) -> None:
    built = entry("a", first_byte_s=0.25, record=replace(RECORD, streamed=True))
    built.common_properties.metadata.filter_metadata["limpet.trail"].update({"first_token_ms": 1500})
    await world.take(built)
    assert world.tracker.states.learned["a"].first_byte_s == pytest.approx(1.75)


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


async def test_a_log_message_that_is_none_is_counted_and_the_next_one_read(world: World) -> None:
    message = als_pb2.StreamAccessLogsMessage()
    message.http_logs.log_entry.append(entry("a"))
    await world.outcomes.stream(Call(b"\xff\xff", message.SerializeToString()))
    assert world.counted("limpet_extproc_failures_total") == 1
    assert [warm.provider for warm in await world.warm()] == ["a"]


async def test_an_entry_that_cannot_be_used_is_counted_and_the_next_one_taken(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace(RECORD, key="not hexadecimal")
    await world.take(entry("a", record=broken), entry("b"))
    assert [warm.provider for warm in await world.warm()] == ["b"]
    assert world.counted("limpet_extproc_failures_total") == 1
    assert "please report this" in caplog.text


@pytest.mark.parametrize(
    ("built", "outcome", "tried"),
    [
        (entry(status=200), "ok", "a 200"),
        (entry(status=302), "failed", "a 302"),
        (entry(status=204), "failed", "a 204"),
        (entry(status=101), "failed", "a 101"),
        (entry(status=422), "refused", "a 422"),
        (entry(status=500), "failed", "a 500"),
        (entry(status=0), "client_left", "a "),
        (entry(status=0, flags=("downstream_connection_termination",)), "client_left", "a "),
        (entry(status=503, flags=("upstream_connection_failure",)), "failed", "a ConnectionFailed"),
        (entry(status=200, flags=("upstream_remote_reset",)), "failed", "a 200"),  # broke off within its answer
        (entry(status=504, flags=("upstream_request_timeout",)), "failed", "a Timeout"),
    ],
)
async def test_an_attempt_that_nothing_was_noted_of_ended_as_envoy_says(
    world: World, built: Any, outcome: str, tried: str
) -> None:
    await world.take(built)
    assert world.counted("limpet_requests_total", provider="a", decision=RECORD.reason, outcome=outcome) == 1
    assert world.tried == [[tried]]


@given(
    notes=st.dictionaries(
        st.text(st.characters(codec="utf-8"), max_size=4) | st.integers(-2, 20).map(str),
        st.fixed_dictionaries(
            {},
            optional={
                key: st.one_of(
                    st.text(st.characters(codec="utf-8"), max_size=30), st.floats(), st.booleans(), st.none()
                )
                for key in ("provider", "status", "verdict", "cause", "says", "retry_after")
            },
        ),
        max_size=5,
    ),
    found=st.dictionaries(st.sampled_from(["prompt", "cached", "output", "x"]), st.floats() | st.text(max_size=3)),
    usage=st.binary(max_size=40) | st.none(),
    status=st.integers(0, 999),
    attempts=st.integers(0, 12),
)
def test_no_number_and_no_word_of_a_provider_breaks_what_is_learned(
    notes: dict[Any, Any], found: dict[str, Any], usage: bytes | None, status: int, attempts: int
) -> None:
    world = World()
    asyncio.run(world.take(entry("a", status, notes=notes, found=found, usage=usage, attempts=attempts)))
    assert world.counted("limpet_extproc_failures_total") == 0
    use = world.caches.refresh().get("a")
    assert use is None or 0 <= use.cached_tokens <= use.prompt_tokens


def answered_here(word: str, status: int, details: str = "direct_response") -> Any:
    """What Envoy answered itself: no provider is in the entry, and its own word is in the response."""
    built = entry("", status, record=None, details=details)
    built.request.path = "/v1/models?key=secret"
    built.request.request_method = 1
    built.common_properties.metadata.filter_metadata["limpet.decision"].update({"reason": "fallback.undecided"})
    if word:
        built.response.response_headers["x-limpet-decision"] = word
    return built


@pytest.mark.parametrize(
    ("word", "status", "details", "reason"),
    [
        ("refused.unknown_path", 404, "direct_response", "refused.unknown_path"),
        ("refused.too_large", 413, "request_payload_too_large", "refused.too_large"),
        ("refused.bad_request", 400, "limpet_refused.bad_request", "refused.bad_request"),
        ("", 400, "limpet_refused.unknown_model", "refused.unknown_model"),
    ],
)
async def test_what_was_refused_before_any_provider_has_a_line_and_is_counted(
    world: World, word: str, status: int, details: str, reason: str
) -> None:
    await world.take(answered_here(word, status, details))
    (summary,) = world.summaries
    assert (summary.reason, summary.status, summary.method, summary.record) == (reason, status, "GET", None)
    assert world.counted("limpet_requests_total", provider="none", decision=reason, outcome="refused") == 1
    assert world.counted("limpet_attempts_total", provider="", outcome="refused") == 0


async def test_lists_have_a_line_and_checks_of_health_have_none_and_neither_is_a_request(world: World) -> None:
    await world.take(answered_here("answered.models", 200), answered_here("answered.health", 200))
    assert [summary.reason for summary in world.summaries] == ["answered.models"]
    assert world.counted("limpet_requests_total", provider="none", decision="answered.models", outcome="ok") == 0


async def test_a_refused_key_is_a_complaint_until_the_provider_answers(world: World) -> None:
    await world.take(entry("b", attempts=2, notes={1: note("a", 401, "CredentialRefused", message="no such key")}))
    standing = world.complaints.standing("a", "", NOW)
    assert standing is not None
    assert (standing.cause, standing.status, standing.message) == ("CredentialRefused", 401, "no such key")
    assert world.complaints.standing("b", "", NOW) is None
    await world.take(entry("a"))
    assert world.complaints.standing("a", "", NOW) is None


async def test_limits_hear_of_a_failover_at_once_and_of_every_end(world: World) -> None:
    failed = {1: note("a", 503, "ServerError")}
    await world.take(entry("b", 0, attempts=2, notes=failed, under_way=True, usage=None))
    began = RECORD.started_s
    assert world.limit_events == [RequestEnded("a", began, -1000), RequestSent("b", began, 1000)]
    await world.take(entry("b", attempts=2, notes=failed))
    assert world.limit_events[2:] == [RequestEnded("b", began, 4010)]


async def test_limits_hear_of_a_request_that_left_before_it_was_tried(world: World) -> None:
    await world.take(entry("", 0, usage=None))
    assert world.limit_events == [RequestEnded("a", RECORD.started_s, -1000)]
