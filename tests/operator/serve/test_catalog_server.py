"""The catalog stream, over gRPC on a Unix socket with the real client of the data plane."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc.aio
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.serve.side import NAMES, Side, catalog, names, raw_worker
from tests.waiting import until

from limpet_extproc.contract.catalog import (
    Evidence,
    EvidenceReport,
    Hello,
    Seen,
    catalog_of,
    decode_catalog,
    encode,
)
from limpet_extproc.contract.client_keys import ClientKey, ClientKeys
from limpet_operator.serve.catalog_server import announce
from limpet_operator.serve.grpc_server import serve


@given(planned=st.sets(st.sampled_from(NAMES)), acked=st.sets(st.sampled_from([*NAMES, "static"])))
def test_only_what_envoy_has_is_announced_and_the_revision_is_the_content(planned: set[str], acked: set[str]) -> None:
    announced = announce(catalog(*sorted(planned)), acked)
    assert names(announced) == sorted(planned & acked)
    assert announced == catalog(*sorted(planned & acked))
    differs = announce(catalog(*sorted(planned), upstream="n"), acked)
    assert (differs.revision != announced.revision) == bool(planned & acked)


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    side = Side(f"unix:{tmp_path}/catalog.sock")
    server = await serve(side.address, side.catalogs.handler())
    yield side
    await server.stop(None)


def test_clients_are_announced_whatever_envoy_has() -> None:
    keys = ClientKeys("Required", (ClientKey("laptop", ("00" * 32,)),))
    whole = catalog_of(catalog("a", "b").providers, (), keys)
    assert [announce(whole, acked).client_keys for acked in ((), {"a"}, {"a", "b"})] == [keys] * 3


async def test_each_worker_gets_what_its_own_envoy_has(side: Side) -> None:
    published = catalog("a", "b")
    side.catalogs.publish(published)
    side.ack("n1", "a", "static")
    side.ack("n2", "a", "b")
    async with (
        side.worker("n1") as one,
        side.worker("n1") as twin,
        side.worker("n2") as two,
        side.worker("n3") as three,
    ):
        await until(lambda: one and twin and two)
        assert (names(one[-1]), names(twin[-1]), names(two[-1])) == (["a"], ["a"], ["a", "b"])
        side.ack("n1", "a", "b")
        await until(lambda: names(one[-1]) == names(twin[-1]) == ["a", "b"])
        assert one[-1] == two[-1]
        assert len(two) == 1, "what another Envoy acknowledged is no news here"
        assert three == [], "its Envoy has not reported: an empty catalog would take away what the worker has"
        assert side.registry.get_sample_value("limpet_catalog_streams") == 4
        assert side.registry.get_sample_value("limpet_catalog_revision_info", {"revision": published.revision}) == 1
    await until(lambda: side.registry.get_sample_value("limpet_catalog_streams") == 0)


async def test_nothing_is_sent_before_the_first_plan_and_an_unchanged_one_is_not_sent_again(side: Side) -> None:
    side.ack("n", "a")
    async with side.worker("n") as seen:
        await until(lambda: side.registry.get_sample_value("limpet_catalog_streams") == 1)
        assert seen == []
        for _ in range(3):
            side.catalogs.publish(catalog("a"))
        await until(lambda: seen)
        side.catalogs.publish(catalog("a"))
        side.catalogs.publish(catalog())
        await until(lambda: len(seen) == 2)
        assert [names(c) for c in seen] == [["a"], []]


async def test_a_slow_worker_gets_the_newest_and_is_waited_for(side: Side) -> None:
    side.ack("n", "a", "b", "c")
    side.catalogs.publish(catalog("a", "b"))
    async with raw_worker(side.address) as slow:
        await slow.write(encode(Hello("n")))
        first = decode_catalog(await slow.read())
        side.catalogs.publish(catalog("b", "c"))
        side.catalogs.publish(catalog("c"))
        assert not await side.catalogs.wait_withdrawn(["a"], 0.02), "sent, so it may decide by it at any moment"
        waiting = asyncio.create_task(side.catalogs.wait_withdrawn(["a", "b"], 10))
        await slow.write(encode(Seen("of an earlier connection")))
        await slow.write(encode(Seen(first.revision)))
        second = decode_catalog(await slow.read())
        assert names(second) == ["c"], "the one between is skipped"
        assert not waiting.done()
        await slow.write(encode(Seen(second.revision)))
        assert await waiting
    assert await side.catalogs.wait_withdrawn(["c"], 10), "no worker is connected any more"


async def test_a_worker_whose_envoy_is_unknown_gets_nothing_new_and_delays_nothing(side: Side) -> None:
    side.catalogs.publish(catalog("a", "b"))
    async with side.worker("n") as seen, side.worker("starting") as starting:
        side.ack("n", "a", "b")
        await until(lambda: seen)
        del side.acked["n"]
        side.catalogs.publish(catalog("b", "c"))
        await until(lambda: names(seen[-1]) == ["b"])
        assert await side.catalogs.wait_withdrawn(["a"], 10), "its Envoy is still to come, so it decides by nothing"
        assert starting == []


async def test_other_replicas_have_to_agree(side: Side) -> None:
    side.catalogs.publish(catalog("b"))
    side.consent = False
    waiting = asyncio.create_task(side.catalogs.wait_withdrawn(["a"], 10))
    await asyncio.sleep(0)
    assert not waiting.done()
    side.consent = True
    side.catalogs.agreement_changed()
    assert await waiting


async def test_which_providers_workers_beside_some_envoys_may_decide_by(side: Side) -> None:
    side.catalogs.publish(catalog("a", "b"))
    side.ack("n1", "a")
    side.ack("n2", "b")
    async with side.worker("n1") as one, side.worker("n2") as two, raw_worker(side.address) as silent:
        await until(lambda: one and two and side.catalogs.deciding == 2)
        assert side.catalogs.deciding_by({"a", "b", "c"}) == {"a", "b"}
        assert side.catalogs.deciding_by({"a", "b", "c"}, {"n1"}) == {"a"}
        assert side.catalogs.deciding_by({"a", "b", "c"}, {"n3"}) == frozenset()
        side.ack("n3", "c")
        await silent.write(encode(Hello("n3")))
        await until(lambda: side.catalogs.deciding_by({"a", "c"}, {"n3"}) == {"a", "c"})


async def test_what_workers_say_of_providers_lasts_as_long_as_their_streams(side: Side) -> None:
    async with raw_worker(side.address) as worker:
        await worker.write(encode(Hello("n")))
        await worker.write(encode(EvidenceReport({"a": Evidence(1.0, since_s=1.0), "b": Evidence(2.0, since_s=1.0)})))
        await until(lambda: side.catalogs.evidence("b"))
        assert side.changes.take().providers == {"a", "b"}
        await worker.write(encode(EvidenceReport({"a": Evidence(1.0, 3.0, "down", 3.0)})))
        await side.changes.wait()
        assert side.changes.take().providers == {"a"}
        assert side.catalogs.evidence("a") == [Evidence(1.0, 3.0, "down", 3.0)]
        assert side.catalogs.evidence("b") == [Evidence(2.0, since_s=1.0)]
    await side.changes.wait()
    assert side.changes.take().providers == {"a", "b"}
    assert side.catalogs.evidence("a") == []


MISMATCHES = [
    (encode(Hello("n", version=0)), r"data plane \(ext_proc\) speaks contract version 0.* upgrade the data plane"),
    (encode(Hello("n", version=99)), r"version 99.* upgrade the control plane"),
    (encode(Seen("1")), "first message must be Hello"),
    (b"\xff", "not a report of contract version"),
]


@pytest.mark.parametrize(("first_word", "words"), MISMATCHES)
async def test_another_contract_version_is_refused_with_a_reason(side: Side, first_word: bytes, words: str) -> None:
    async with raw_worker(side.address) as stranger:
        await stranger.write(first_word)
        with pytest.raises(grpc.aio.AioRpcError, match=words) as refused:
            await stranger.read()
        assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert side.registry.get_sample_value("limpet_contract_mismatches_total") == 1
    assert side.registry.get_sample_value("limpet_catalog_streams") == 0


async def test_a_second_hello_ends_the_stream(side: Side) -> None:
    async with raw_worker(side.address) as confused:
        await confused.write(encode(Hello("n")))
        await confused.write(encode(Hello("n")))
        with pytest.raises(grpc.aio.AioRpcError, match="sends Hello once"):
            await confused.read()


async def test_closing_ends_the_streams_in_good_order(side: Side) -> None:
    async with raw_worker(side.address) as worker:
        await worker.write(encode(Hello("n")))
        await until(lambda: side.registry.get_sample_value("limpet_catalog_streams") == 1)
        side.catalogs.close()
        assert await worker.code() is grpc.StatusCode.OK
