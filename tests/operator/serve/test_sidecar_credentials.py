"""Who gets the providers' credentials over SDS, what else is there to get, and what a change costs."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from envoy.service.discovery.v3 import discovery_pb2
from tests.operator.serve.recorded import Recorded, resource

from limpet_operator.publish.envoy_settings import SERVING_SECRET
from limpet_operator.publish.resource import CLUSTER, SECRET
from limpet_operator.serve.grpc_server import serve
from limpet_operator.serve.sidecar_credentials import SidecarCredentials
from limpet_operator.serve.token_review import TokenRefusedError, Workload
from limpet_operator.sources.kube_error import ApiError

METHOD = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"
NAME = "limpet/credential/a"
_AIO: Any = grpc.aio


class Tokens:
    """Knows two service accounts by their tokens."""

    async def workload(self, token: str) -> Workload:
        if token == "away":
            raise ApiError(None, "the Kubernetes API does not answer")
        if token not in ("shop-token", "other-token"):
            raise TokenRefusedError("the API server does not accept the token")
        return Workload(token.removesuffix("-token"), "checkout")


class Asking:
    """One stream of one sidecar."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def ask(self, *names: str, type_url: str = SECRET, nonce: str = "") -> None:
        request = discovery_pb2.DeltaDiscoveryRequest(
            type_url=type_url, resource_names_subscribe=names, response_nonce=nonce
        )
        await self._call.write(request)

    async def take(self) -> dict[str, bytes]:
        answer = await self._call.read()
        await self.ask(nonce=answer.nonce)
        return {each.name: each.resource.value for each in answer.resources}

    async def ending(self) -> tuple[grpc.StatusCode, str]:
        try:
            assert await self._call.read() is _AIO.EOF
        except grpc.aio.AioRpcError as error:
            return error.code(), error.details() or ""
        return await self._call.code(), await self._call.details()


class Side:
    """The server."""

    def __init__(self, address: str, recorded: Recorded) -> None:
        self.address = address
        self.recorded = recorded

    @asynccontextmanager
    async def stream(self, token: str | None) -> AsyncIterator[Asking]:
        metadata = [] if token is None else [("authorization", f"Bearer {token}")]
        async with grpc.aio.insecure_channel(self.address) as channel:
            method: Any = channel.stream_stream(
                METHOD,
                discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                discovery_pb2.DeltaDiscoveryResponse.FromString,
            )
            call = method(metadata=metadata, timeout=60)
            yield Asking(call)
            call.cancel()


@asynccontextmanager
async def serving(tmp_path: Path, **more: Any) -> AsyncIterator[Side]:
    recorded, address = Recorded(), f"unix:{tmp_path}/credentials.sock"
    recorded.set_all([resource(NAME, "key-1", SECRET), resource("a")])
    service = SidecarCredentials(recorded.server, Tokens(), ["shop"], **more)
    server = await serve(address, service.handler())
    try:
        yield Side(address, recorded)
    finally:
        service.close()
        await server.stop(1)


@pytest.fixture
async def side(tmp_path: Path) -> AsyncIterator[Side]:
    async with serving(tmp_path) as running:
        yield running


async def test_a_sidecar_of_a_listed_namespace_gets_what_it_asks_for_and_every_change(side: Side) -> None:
    async with side.stream("shop-token") as sidecar:
        await sidecar.ask(NAME)
        assert await sidecar.take() == {NAME: b"key-1"}
        side.recorded.server.publish([resource("limpet/credential/b", "key-b", SECRET)])
        side.recorded.server.publish([resource(NAME, "key-2", SECRET)])
        assert await sidecar.take() == {NAME: b"key-2"}
    assert side.recorded.acks.connected_gateways == ()
    assert side.recorded.count("limpet_xds_streams") == 0


async def test_the_gateways_own_key_is_for_no_sidecar(side: Side) -> None:
    own = resource(SERVING_SECRET, "the gateway's key", SECRET)
    side.recorded.server.publish([own])
    for names in ((SERVING_SECRET, NAME), ("*",)):
        async with side.stream("shop-token") as sidecar:
            await sidecar.ask(*names)
            assert await sidecar.take() == {NAME: b"key-1"}
            side.recorded.server.publish([resource(SERVING_SECRET, f"another for {names}", SECRET)])
            side.recorded.server.publish([resource(NAME, "key-2", SECRET)])
            assert await sidecar.take() == {NAME: b"key-2"}
            side.recorded.server.publish([resource(NAME, "key-1", SECRET)])
            assert await sidecar.take() == {NAME: b"key-1"}


@pytest.mark.parametrize(
    ("token", "said"),
    [
        ("other-token", "the service account checkout of the namespace other"),
        ("made-up", "does not accept the token"),
        (None, "does not accept the token"),
    ],
)
async def test_nobody_else_gets_even_a_name(
    side: Side, caplog: pytest.LogCaptureFixture, token: str | None, said: str
) -> None:
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            async with side.stream(token) as stranger:
                code, details = await stranger.ending()
            assert code is grpc.StatusCode.PERMISSION_DENIED
            assert details == "there are no credentials here for this client"
    (record,) = caplog.records
    assert said in record.getMessage()
    assert token is None or token not in record.getMessage()


async def test_while_the_api_server_is_away_nobody_is_told_no(side: Side) -> None:
    async with side.stream("away") as sidecar:
        code, _ = await sidecar.ending()
    assert code is grpc.StatusCode.UNAVAILABLE


async def test_there_is_nothing_but_secrets(side: Side) -> None:
    async with side.stream("shop-token") as sidecar:
        await sidecar.ask(type_url=CLUSTER)
        assert (await sidecar.ending())[0] is grpc.StatusCode.OK


async def test_a_stream_ends_after_a_while_so_that_the_token_counts_anew(tmp_path: Path) -> None:
    async with serving(tmp_path, stream_s=0.05) as side, side.stream("shop-token") as sidecar:
        await sidecar.ask(NAME)
        assert await sidecar.take() == {NAME: b"key-1"}
        assert (await sidecar.ending())[0] is grpc.StatusCode.OK
