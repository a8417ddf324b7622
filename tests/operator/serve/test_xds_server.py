"""The delta ADS server, over gRPC with a small fake Envoy."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from tests.operator.fake_envoy import FakeEnvoy
from tests.operator.serve.recorded import Recorded, resource, serving
from tests.waiting import until

from limpet_operator.publish.resource import CLUSTER, SECRET
from limpet_operator.serve.acknowledgements import Nack
from limpet_operator.serve.grpc_server import serve


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[tuple[Recorded, FakeEnvoy]]:
    recorded = Recorded()
    address = f"unix:{tmp_path}/xds.sock"
    async with serving(address, recorded):
        yield recorded, FakeEnvoy(address)


Side = tuple[Recorded, FakeEnvoy]


async def test_wildcard_and_named_types_and_their_changes(side: Side) -> None:
    recorded, envoy = side
    recorded.set_all([resource("c1"), resource("c2"), resource("s1", type_url=SECRET), resource("s2", type_url=SECRET)])
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        assert await envoy.take() == (CLUSTER, {"c1": b"1", "c2": b"1"}, [])
        await envoy.subscribe(SECRET, "s1", "later")
        assert await envoy.take() == (SECRET, {"s1": b"1"}, [])  # No word about "later", and nothing of s2.
        recorded.server.publish([resource("later", type_url=SECRET), resource("c1", "2"), resource("c2")])
        assert await envoy.take() == (SECRET, {"later": b"1"}, [])
        assert await envoy.take() == (CLUSTER, {"c1": b"2"}, [])
        await envoy.subscribe(SECRET, unsubscribe=["s1"])
        await envoy.subscribe(SECRET, "later")  # Asked for again: sent again.
        assert await envoy.take() == (SECRET, {"later": b"1"}, [])
        recorded.server.publish([resource("s1", "2", SECRET)], [(CLUSTER, "c2")])
        assert await envoy.take() == (CLUSTER, {}, ["c2"])
        await until(lambda: recorded.count("limpet_xds_acks_total", type="Cluster") == 3)
    assert recorded.acked().keys() == {"c1"}
    assert recorded.count("limpet_xds_resources", type="Cluster") == 1
    await until(lambda: recorded.count("limpet_xds_streams") == 0)


async def test_an_empty_world_is_answered_but_not_before_it_is_known(side: Side) -> None:
    recorded, envoy = side
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        await until(lambda: recorded.acks.acknowledged("n") is not None)
        recorded.set_all([])
        assert await envoy.take() == (CLUSTER, {}, [])  # Envoy goes on to its listeners only after this.


async def test_a_reconnect_sends_differences_and_keeps_what_was_acknowledged(side: Side) -> None:
    recorded, envoy = side
    recorded.set_all([resource(name) for name in ("same", "changes", "goes")])
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        await envoy.take()
        await until(lambda: len(recorded.acked()) == 3)
    await until(lambda: recorded.count("limpet_xds_streams") == 0)
    recorded.set_all([resource("same"), resource("changes", "2")])
    assert recorded.acked().keys() == {"same", "changes", "goes"}, "Envoy goes on serving without us"
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        assert await envoy.take() == (CLUSTER, {"changes": b"2"}, [])
        assert await envoy.take() == (CLUSTER, {}, ["goes"])
        assert recorded.acked().keys() == {"same", "changes"}
    envoy.has.clear()  # A new Envoy process under the same name.
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        response = await envoy.receive()
        assert len(response.resources) == 2
        assert recorded.acked() == {}
        await envoy.answer(response)
        await until(lambda: recorded.acked().keys() == {"same", "changes"})
    assert set(recorded.acked_nodes) == {"n"}


PARTIAL = "Error adding/updating cluster(s) bad: no such file"


@pytest.mark.parametrize("message", [PARTIAL, "Proto constraint validation failed"])
async def test_a_rejection_names_the_resource_and_the_rest_counts(side: Side, message: str) -> None:
    recorded, envoy = side
    recorded.set_all([resource("bad")])
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        await envoy.take()
        good = recorded.server.resources.version((CLUSTER, "bad"))
        recorded.server.publish([resource("bad", "broken"), *(resource(f"c{i}") for i in range(5))])
        answering = asyncio.create_task(envoy.answer_all(b"broken", message))
        await until(lambda: recorded.nacks)
        (nack,) = recorded.refused
        assert nack == Nack("n", CLUSTER, "bad", recorded.server.resources.version((CLUSTER, "bad")) or "", message)
        assert recorded.nacks == [nack]
        await until(lambda: len(recorded.acked()) == 6)
        assert recorded.acked()["bad"] == good, "the last good version goes on serving"
        recorded.server.publish([resource("bad", "mended")])
        await until(lambda: not recorded.refused)
        assert (recorded.count("limpet_xds_nacks_total", type="Cluster") or 0) <= 4, "halves of six, no loop"
        answering.cancel()


async def test_closing_ends_the_streams_in_good_order(side: Side) -> None:
    recorded, envoy = side
    async with envoy.stream():
        await envoy.subscribe(CLUSTER)
        await until(lambda: recorded.acks.acknowledged("n") is not None)
        recorded.server.close()
        assert await envoy.call.code() is grpc.StatusCode.OK


async def test_a_stream_that_ends_in_nonsense_is_forgotten_all_the_same(side: Side) -> None:
    recorded, envoy = side
    method = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
    async with grpc.aio.insecure_channel(envoy.address) as channel:
        call: Any = channel.stream_stream(method)()  # type: ignore[call-arg]
        hello = discovery_pb2.DeltaDiscoveryRequest(node={"id": "n"}, type_url=CLUSTER)
        await call.write(hello.SerializeToString())
        await until(lambda: recorded.acks.connected("n"))
        await call.write(b"\xff\xff")
        assert await call.code() is not grpc.StatusCode.OK
        await until(lambda: not recorded.acks.connected("n"))
        assert recorded.count("limpet_xds_streams") == 0


async def test_an_address_that_is_taken_is_named(side: Side, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="is it in use"):
        await serve(f"unix:{tmp_path}/nowhere/xds.sock")
