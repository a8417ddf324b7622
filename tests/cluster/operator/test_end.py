"""How a replica ends when asked: it gets no new clients, cuts off none, and does end."""

import asyncio
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import grpc.aio
import httpx
from envoy.service.discovery.v3 import ads_pb2_grpc, discovery_pb2
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_operator.publish.resource import CLUSTER


async def test_first_it_is_not_ready_then_its_streams_end_in_good_order(
    private_apiserver: Callable[[], AbstractContextManager[ApiServer]], tmp_path: Path
) -> None:
    lease = ("--lease-namespace", "default", "--lease-name", "limpet")
    with private_apiserver() as server:
        server.install_crds()
        server.apply(provider("p0"), secret("p0")).ok()
        with Operator.running(server, tmp_path / "op", "--namespace", "default", *lease) as operator:
            await operator.ready()
            await operator.until_logged("held by this replica now")
            async with grpc.aio.insecure_channel(operator.address) as channel, httpx.AsyncClient() as client:
                stream: Any = ads_pb2_grpc.AggregatedDiscoveryServiceStub(channel).DeltaAggregatedResources()
                await stream.write(discovery_pb2.DeltaDiscoveryRequest(node={"id": "g"}, type_url=CLUSTER))
                assert await stream.read()
                # Nobody takes the Lease back, which must not keep the process for long.
                server.apiserver.freeze()
                ending = asyncio.create_task(asyncio.to_thread(operator.program.stop))
                seen = []
                while not ending.done():
                    try:
                        answer = await client.get(f"{operator.http}/readyz")
                    except httpx.TransportError:
                        break
                    seen.append((answer.status_code, answer.text.strip(), stream.done()))
                server.apiserver.thaw()
                assert await stream.code() is grpc.StatusCode.OK
                assert await ending == 0
        assert (503, "this replica is ending", False) in seen
        ready = [status == 200 for status, _, _ in seen]
        assert ready == sorted(ready, reverse=True), "never ready again"
        assert operator.logged("ended")
        assert not [entry for entry in operator.log() if entry["level"] == "error"]
