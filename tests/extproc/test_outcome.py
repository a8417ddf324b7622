"""Access log entries, built as Envoy sends them, and what becomes of memory, health, averages and counters."""

from typing import Any

import pytest
from envoy.data.accesslog.v3 import accesslog_pb2
from envoy.service.accesslog.v3 import als_pb2
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from limpet_extproc import record as records
from limpet_extproc.cache_use import CacheUses
from limpet_extproc.complaints import Complaints
from limpet_extproc.health import State
from limpet_extproc.memory import Warm
from limpet_extproc.memory.in_process import InProcessMemory
from limpet_extproc.metrics import Metrics
from limpet_extproc.outcome import ATTEMPT_LOG, Outcomes, outcome_of, retry_after_s
from limpet_extproc.providers import Providers
from limpet_extproc.record import Record
from limpet_extproc.usage import METADATA_KEY, Usage

NOW = 1_760_000_000.0
KEY = bytes(range(16))
RECORD = Record(
    key=KEY.hex(),
    model="flash",
    sign="fingerprint",
    reason="first.scored",
    would=None,
    order=("a", "b", "c"),
    ttls_s=(300.0, 60.0, 0.0),
    started_s=NOW - 10,
    prompt_tokens=1000,
    max_providers=4,
    learn=True,
)
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
    headers: dict[str, str] | None = None,
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
    built.response.response_headers.update(headers or {})
    if record is not None:
        fields = common.metadata.filter_metadata["limpet.decision"].fields
        fields["reason"].string_value = record.reason
        carried = common.metadata.filter_metadata["limpet.record"].fields
        carried["v"].string_value = records.encode(record)
    if usage is not None:
        common.metadata.typed_filter_metadata[METADATA_KEY].value = usage
    return built


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
        self.shown: list[tuple[str, int, Usage | None, float]] = []
        self.memory = InProcessMemory()
        self.providers = Providers(self._changed)
        self.registry = CollectorRegistry()
        self.caches = CacheUses(lambda: NOW)
        self.complaints = Complaints(lambda: None)
        metrics = Metrics(self.registry)
        self.outcomes = Outcomes(
            self.memory, self.providers, metrics, self.caches, self.complaints, lambda: NOW, self._show
        )

    def _changed(self, provider: str, state: State) -> None:
        self.changes.append((provider, state.out_because))

    def _show(self, record: Record, provider: str, status: int, usage: Usage | None, duration_s: float) -> None:
        assert record.model == "flash"
        self.shown.append((provider, status, usage, duration_s))

    async def take(self, *entries: Any, log: str = "limpet.request") -> None:
        """One message an entry; the log's name comes with the first only."""
        messages = []
        for number, each in enumerate(entries):
            message = als_pb2.StreamAccessLogsMessage()
            if number == 0:
                message.identifier.log_name = log
            message.http_logs.log_entry.append(each)
            messages.append(message.SerializeToString())
        assert await self.outcomes.stream(None, Call(*messages)) == b""

    async def warm(self) -> tuple[Warm, ...]:
        known = await self.memory.lookup(KEY, NOW)
        return known.warm if known else ()

    def counted(self, name: str, **labels: str) -> float:
        return self.registry.get_sample_value(name, labels) or 0.0


@pytest.fixture
def world() -> World:
    return World()


async def test_who_really_served_is_remembered_from_the_start_of_the_request(world: World) -> None:
    await world.take(entry("a"))
    assert await world.warm() == (Warm("a", RECORD.started_s + 300.0, 5000, 3840),)


async def test_a_provider_that_served_after_others_failed_takes_over(world: World) -> None:
    await world.take(entry("a"), entry("b", attempts=2))
    assert [warm.provider for warm in await world.warm()] == ["b"]


async def test_one_more_try_at_the_same_provider_is_not_held_against_it(world: World) -> None:
    twice = replace(RECORD, order=("a", "a", "b"))
    await world.take(entry("a"), entry("a", record=twice, attempts=2))
    assert [warm.provider for warm in await world.warm()] == ["a"]


@pytest.mark.parametrize(
    ("last", "left"),
    [
        (entry("a", 500), []),
        (entry("a", 429), []),
        (entry("a", 429, headers={"retry-after": "7"}), []),
        (entry("a", 0, flags=("upstream_remote_reset",)), []),
        (entry("a", 0), ["a"]),  # the client left: nobody's failure
        (entry("a", 400), ["a"]),  # the request's own fault
        (entry("", 503), ["a"]),  # no provider was asked
        (entry("a", 500, record=None), ["a"]),  # nobody knows whose it was
        (entry("c"), ["a"]),  # served where staying does not pay
    ],
)
async def test_a_failure_forgets_and_nothing_else_does(world: World, last: Any, left: list[str]) -> None:
    await world.take(entry("a"), last)
    assert [warm.provider for warm in await world.warm()] == left


async def test_without_usage_the_estimate_is_remembered_and_the_lack_counted(world: World) -> None:
    await world.take(entry("a", usage=None))
    assert await world.warm() == (Warm("a", RECORD.started_s + 300.0, 1000, 0),)
    assert world.counted("limpet_usage_unreported_total", provider="a") == 1
    assert world.counted("limpet_cached_tokens_total", provider="a", model="flash") == 0


async def test_a_request_that_teaches_nothing_is_still_counted_and_shown(world: World) -> None:
    await world.take(entry("a", record=replace(RECORD, learn=False)))
    assert await world.warm() == ()
    assert world.caches.told()["a"].warm == b""
    assert world.counted("limpet_requests_total", provider="a", decision="first.scored", outcome="ok") == 1
    assert len(world.shown) == 1


async def test_tokens_are_counted_as_the_provider_reported_them(world: World) -> None:
    await world.take(entry("a"))
    labels = {"provider": "a", "model": "flash"}
    assert world.counted("limpet_prompt_tokens_total", **labels) == 5000
    assert world.counted("limpet_cached_tokens_total", **labels) == 3840
    assert world.counted("limpet_output_tokens_total", **labels) == 10
    assert world.shown == [("a", 200, Usage(5000, 3840, 10), 1.5)]
    cache = world.caches.told()["a"]
    assert (cache.prompt_tokens, cache.cached_tokens, sum(rank > 0 for rank in cache.warm)) == (5000, 3840, 1)


async def test_attempts_tell_of_failures_and_requests_of_who_answered(world: World) -> None:
    await world.take(*[entry("a", 500)] * 3)
    assert world.changes == []
    await world.take(*[entry("a", 500)] * 3, log=ATTEMPT_LOG)
    assert world.changes == [("a", "down")]
    await world.take(entry("a", first_byte_s=0.25))
    assert world.changes == [("a", "down"), ("a", None)]
    assert world.providers.known.learned["a"].first_byte_s == pytest.approx(0.25)
    assert world.providers.known.learned["a"].samples == 4
    assert world.counted("limpet_attempts_total", provider="a", outcome="failed_500") == 3
    assert world.counted("limpet_attempts_total", provider="a", outcome="ok") == 1


async def test_what_no_provider_answered_counts_for_none(world: World) -> None:
    refused = entry("a", 404, record=None, usage=None, answered=False, details="limpet_refused.unknown_model")
    await world.take(refused, entry("a", 503, usage=None, answered=False))
    assert (
        world.counted("limpet_requests_total", provider="none", decision="refused.unknown_model", outcome="refused")
        == 1
    )
    assert world.counted("limpet_requests_total", provider="none", decision=RECORD.reason, outcome="failed") == 1
    assert world.providers.known.learned == {}


async def test_a_429_takes_a_provider_out_for_as_long_as_it_asks(world: World) -> None:
    await world.take(entry("a", 429, headers={"retry-after": "30"}), log=ATTEMPT_LOG)
    assert world.changes == [("a", "over_limit")]
    assert world.providers.known.health["a"].until_s == NOW + 30


async def test_neither_the_clients_leaving_nor_its_own_fault_says_anything_of_a_provider(world: World) -> None:
    await world.take(entry("a", 0), entry("a", 400), entry("", 503), log=ATTEMPT_LOG)
    assert world.providers.known.health == {}
    assert world.providers.known.learned == {}


async def test_an_entry_that_cannot_be_used_is_counted_and_the_next_one_taken(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    broken = replace(RECORD, key="not hexadecimal")
    await world.take(entry("a", record=broken), entry("b"))
    assert [warm.provider for warm in await world.warm()] == ["b"]
    assert world.counted("limpet_extproc_failures_total") == 1
    assert "please report this" in caplog.text


@pytest.mark.parametrize(
    ("built", "expected"),
    [
        (entry(status=200), "ok"),
        (entry(status=302), "ok"),
        (entry(status=400), "refused"),
        (entry(status=404), "refused"),
        (entry(status=422), "refused"),
        (entry(status=401), "failed"),
        (entry(status=402), "failed"),
        (entry(status=403), "failed"),
        (entry(status=408), "failed"),
        (entry(status=500), "failed"),
        (entry(status=529), "failed"),
        (entry(status=429), "failed"),
        (entry(status=429, headers={"retry-after": "soon"}), "failed"),
        (entry(status=429, headers={"retry-after": "1"}), "limited"),
        (entry(status=0), "client_left"),
        (entry(status=0, flags=("downstream_connection_termination",)), "client_left"),
        (entry(status=0, flags=("upstream_connection_failure",)), "failed"),
        (entry(status=200, flags=("upstream_remote_reset",)), "failed"),  # broke off in the middle of its answer
        (entry(status=504, flags=("upstream_request_timeout",)), "failed"),
    ],
)
def test_an_attempt_ended_in_one_of_five_ways(built: Any, expected: str) -> None:
    assert outcome_of(built) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("30", 30.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("1.5", 1.5),
        ("Thu, 09 Oct 2025 08:54:10 GMT", 50.0),
        ("Thu, 09 Oct 2025 08:00:00 GMT", 0.0),
        ("soon", None),
        ("", None),
        ("Thu, 99 Oct 2025 08:00:00 GMT", None),
    ],
)
def test_retry_after_is_read_in_both_its_forms(text: str, expected: float | None) -> None:
    assert retry_after_s(entry(status=429, headers={"retry-after": text}), NOW) == expected
