"""Workers hand batches over: what is kept, what is refused and how that is said, and what a store in trouble does."""

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path
from threading import Event

import grpc
import msgspec
import pytest
from tests.activity.intake.taking import batch, hand_over, serving
from tests.waiting import until

from limpet_activity.intake.batches import MOST_BYTES
from limpet_activity.intake.server import ListenError
from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import ActivityFilter, StoreError
from limpet_activity.store.taking import Taken, taking
from limpet_extproc.contract.activity import MOST_RECORDS, VERSION, ActivityBatch, encode_batch

OK = grpc.StatusCode.OK


@pytest.fixture
def socket(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/activity.sock"


async def test_batches_are_kept_once_and_passed_on_once(socket: str) -> None:
    store = InMemoryStore()
    async with serving(taking(store), [socket]) as service:
        assert await hand_over(socket, batch(1, 2)) == (OK, "")
        assert await hand_over(socket, batch(2, 3)) == (OK, "")
        assert store.sums(ActivityFilter()).requests == 3
        assert service.passed_on == ["r1", "r2", "r3"]
        assert (service.count("records", "taken"), service.count("records", "repeated")) == (3, 1)


async def test_batches_of_many_workers_are_written_together(socket: str) -> None:
    store, go, sizes = InMemoryStore(), Event(), []

    def take(batches: Sequence[ActivityBatch], now_s: float) -> Taken:
        go.wait()
        sizes.append(len(batches))
        return taking(store)(batches, now_s)

    async with serving(take, [socket]) as service:
        calls = [asyncio.create_task(hand_over(socket, batch(number))) for number in range(8)]
        await until(lambda: service.intake._waiting.qsize() == 7)
        go.set()
        assert set(await asyncio.gather(*calls)) == {(OK, "")}
    assert sizes == [1, 7]
    assert store.sums(ActivityFilter()).requests == 8


@pytest.mark.parametrize(
    ("data", "code", "words"),
    [
        (b"", grpc.StatusCode.INVALID_ARGUMENT, "not a batch"),
        (b"x", grpc.StatusCode.INVALID_ARGUMENT, "not a batch"),
        (b"\x91" * 1_000_000, grpc.StatusCode.INVALID_ARGUMENT, "not a batch"),
        (b"\0" * (MOST_BYTES + 1), grpc.StatusCode.INVALID_ARGUMENT, "send less"),
        (encode_batch(batch(*range(MOST_RECORDS + 1))), grpc.StatusCode.INVALID_ARGUMENT, "at most 500"),
        (msgspec.msgpack.encode([VERSION + 1, "new"]), grpc.StatusCode.FAILED_PRECONDITION, "upgrade both sides"),
    ],
)
async def test_what_is_refused_says_why(socket: str, data: bytes, code: grpc.StatusCode, words: str) -> None:
    async with serving(taking(InMemoryStore()), [socket]) as service:
        found, why = await hand_over(socket, data)
        assert found is code
        assert words in why
        assert service.count("batches", "refused") == 1


async def test_a_record_that_cannot_be_read_does_not_take_its_batch_with_it(socket: str) -> None:
    fields = msgspec.to_builtins(batch(1, 2, 3))
    fields[5][1][4] = 1e300  # a status
    fields[6] = [["alpha", 7], ["beta", "up"]]
    store = InMemoryStore()
    async with serving(taking(store), [socket]) as service:
        assert await hand_over(socket, msgspec.msgpack.encode(fields)) == (OK, "")
        assert service.passed_on == ["r1", "r3"]
        assert service.count("records", "refused") == 1
    assert [seen.report.provider for seen in store.providers()] == ["beta"]


async def test_a_store_in_trouble_keeps_records_at_the_workers(socket: str, caplog: pytest.LogCaptureFixture) -> None:
    store, broken = InMemoryStore(), True

    def take(batches: Sequence[ActivityBatch], now_s: float) -> Taken:
        if broken:
            raise StoreError("the disk is full")
        return taking(store)(batches, now_s)

    caplog.set_level(logging.INFO)
    async with serving(take, [socket]) as service:
        for _ in range(3):
            assert await hand_over(socket, batch(1)) == (grpc.StatusCode.UNAVAILABLE, "the disk is full")
        assert service.health.trouble == "the disk is full"
        assert service.registry.get_sample_value("limpet_activity_store_up") == 0
        broken = False
        assert await hand_over(socket, batch(1)) == (OK, "")
        assert (service.health.trouble, service.registry.get_sample_value("limpet_activity_store_up")) == ("", 1)
    said = [record.message for record in caplog.records if "store_health" in record.name]
    assert said == [
        "records are not taken, and workers keep them: the disk is full",
        "the store does what it is asked again",
    ]


async def test_an_error_of_ours_ends_neither_the_service_nor_the_record(socket: str) -> None:
    store, fails = InMemoryStore(), [True]

    def take(batches: Sequence[ActivityBatch], now_s: float) -> Taken:
        if fails.pop() if fails else False:
            raise KeyError("secret")
        return taking(store)(batches, now_s)

    async with serving(take, [socket]):
        code, why = await hand_over(socket, batch(1))
        assert (code, "secret" in why) == (grpc.StatusCode.UNAVAILABLE, False)
        assert await hand_over(socket, batch(1)) == (OK, "")
    assert store.last_number() == 1


async def test_only_so_much_waits(socket: str) -> None:
    go = Event()

    def take(batches: Sequence[ActivityBatch], now_s: float) -> Taken:
        go.wait()
        return Taken((), 0)

    async with serving(take, [socket]) as service:
        calls = [asyncio.create_task(hand_over(socket, batch(number))) for number in range(120)]
        done, _ = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
        assert {task.result()[0] for task in done} == {grpc.StatusCode.UNAVAILABLE}
        go.set()
        codes = [code for code, _ in await asyncio.gather(*calls)]
        assert codes.count(OK) >= 100
        assert service.intake._waiting.empty()


async def test_a_socket_that_somebody_has_is_left_to_them(socket: str) -> None:
    async with serving(taking(InMemoryStore()), [socket]):
        with pytest.raises(ListenError, match="another process does"):
            async with serving(taking(InMemoryStore()), [socket]):
                pass
        assert await hand_over(socket, batch(1)) == (OK, "")
    async with serving(taking(InMemoryStore()), [socket]):
        assert await hand_over(socket, batch(1)) == (OK, "")
