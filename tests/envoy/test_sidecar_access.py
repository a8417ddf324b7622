"""Mode sidecar: who may ask the workers, and what remains when a part is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from tests.envoy.cast import LONG, headers_of, say
from tests.envoy.meshed import SidecarStage, meshed
from tests.waiting import until

from limpet_lab.mesh.identities import CertificateAuthority, KeyPair
from limpet_lab.mesh.meshed_gateway import SPIFFE_ID, TOKEN, MeshedGateway
from limpet_lab.mesh.sidecar import HOST, WORKERS_NAME
from limpet_lab.sim.sellers import Sellers
from limpet_operator.publish.sidecar_listener import HEALTH_CHECK, PROCESS
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Who may ask?")]
_OF_CHAT = "spiffe://cluster.local/ns/chat/sa/checkout"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def running(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[MeshedGateway, int]]:
    async with meshed(tmp_path_factory.mktemp("access")) as found:
        yield found


@pytest_asyncio.fixture(loop_scope="session")
async def stage(
    numbers: Iterator[int], sellers: Sellers, running: tuple[MeshedGateway, int], parser: Parser
) -> AsyncIterator[SidecarStage]:
    for seller in sellers:
        await seller.reset()
    async with SidecarStage(next(numbers), sellers, running[0], parser, running[1]) as ready:
        yield ready


def channel_to(gateway: MeshedGateway, identity: KeyPair | None) -> Any:
    """A channel to the listener for sidecars."""
    pair = (None, None) if identity is None else (identity.key.encode(), identity.certificate.encode())
    credentials = grpc.ssl_channel_credentials(gateway.ours.pem.encode(), *pair)
    options = (("grpc.ssl_target_name_override", WORKERS_NAME), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.secure_channel(f"{HOST}:{gateway.workers_port}", credentials, options=options)


async def called(gateway: MeshedGateway, identity: KeyPair | None, method: str = HEALTH_CHECK) -> grpc.StatusCode:
    """How a call to the listener for sidecars ends."""
    async with channel_to(gateway, identity) as channel:
        try:
            await channel.unary_unary(method)(b"", timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK


async def test_who_has_no_identity_of_the_mesh_gets_nothing(stage: SidecarStage) -> None:
    gateway = stage.gateway
    assert await called(gateway, gateway.mesh.of_workload(SPIFFE_ID)) is grpc.StatusCode.OK
    strangers: dict[str, KeyPair | None] = {
        "no certificate": None,
        "of another authority": CertificateAuthority.made("stranger").of_workload(SPIFFE_ID),
        "of our own authority, such as the gateway's": gateway.ours.of_workload(SPIFFE_ID),
        "of another trust domain": gateway.mesh.of_workload("spiffe://evil.example/ns/shop/sa/checkout"),
        "of a host": gateway.mesh.of_host("shop.example"),
    }
    for who, identity in strangers.items():
        assert await called(gateway, identity) is grpc.StatusCode.UNAVAILABLE, f"{who}: the handshake"


@pytest.mark.parametrize(
    "spiffe_id", [_OF_CHAT, "spiffe://cluster.local/ns/shop-2/sa/a", "spiffe://cluster.local/ns/a/sa/ns/shop/sa/b"]
)
async def test_who_is_of_another_namespace_is_told_no(stage: SidecarStage, spiffe_id: str) -> None:
    gateway = stage.gateway
    assert await called(gateway, gateway.mesh.of_workload(spiffe_id)) is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    "method", ["/limpet.v1.ControlPlane/Watch", "/grpc.health.v1.Health/Watch", f"{PROCESS}/", "/v1/chat/completions"]
)
async def test_there_is_no_method_but_those_of_sidecars(stage: SidecarStage, method: str) -> None:
    gateway = stage.gateway
    identity = gateway.mesh.of_workload(SPIFFE_ID)
    assert await called(gateway, identity, method) is grpc.StatusCode.UNIMPLEMENTED


async def test_one_message_that_only_our_own_envoy_sends_is_not_taken_for_that(stage: SidecarStage) -> None:
    """The words by which our own Envoy announces it are taken away: without headers there is no answer."""
    gateway = stage.gateway
    identity = gateway.mesh.of_workload(SPIFFE_ID)
    message = pb.ProcessingRequest(request_headers=pb.HttpHeaders(end_of_stream=True))
    async with channel_to(gateway, identity) as channel:
        call = channel.stream_stream(PROCESS)(metadata=[("x-limpet-messages", "one")], timeout=20)
        await call.write(message.SerializeToString())
        answer = pb.ProcessingResponse.FromString(await call.read())
    assert answer.WhichOneof("response") == "request_headers"


async def test_another_authority_of_the_mesh_counts_as_soon_as_its_file_is_there(stage: SidecarStage) -> None:
    gateway, following = stage.gateway, CertificateAuthority.made("mesh of tomorrow")
    assert await called(gateway, following.of_workload(SPIFFE_ID)) is grpc.StatusCode.UNAVAILABLE
    gateway.trust(gateway.mesh.pem + following.pem)

    async def taken() -> bool:
        return await called(gateway, following.of_workload(SPIFFE_ID)) is grpc.StatusCode.OK

    await until(taken, "the new authority")
    assert await called(gateway, gateway.mesh.of_workload(SPIFFE_ID)) is grpc.StatusCode.OK


async def test_without_a_worker_requests_go_to_the_gateway_and_come_back_with_it(stage: SidecarStage) -> None:
    await stage.serve("a", "b")
    await stage.ask(_OPENER)
    before = await stage.sent("a") + await stage.sent("b")
    gateway = stage.gateway
    gateway.children.kill("ext_proc")
    for number in range(5):
        answer = await stage.post({"model": stage.model, "messages": [say(f"Without {number}")]})
        assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "fallback.undecided")
    assert await stage.sent("a") + await stage.sent("b") == before
    await gateway.start_extproc()
    await gateway.ready()

    async def decided() -> bool:
        await stage.ask(_OPENER)
        return await stage.sent("a") + await stage.sent("b") > before

    await until(decided, "a decision for the sidecar")


async def test_credentials_stay_while_no_operator_gives_them_out(stage: SidecarStage) -> None:
    gateway = stage.gateway
    await stage.serve("a", "b")
    await gateway.credentials.aclose()
    question = {"model": stage.model, "messages": _OPENER, "provider": {"only": [stage.provider("a")]}}
    for _ in range(3):
        assert (await stage.post(question)).status == 200
        await asyncio.sleep(0.3)
    arrivals = await stage.arrivals("a")
    assert {headers_of(arrival)["authorization"] for arrival in arrivals} == {"Bearer key-of-a"}
    assert await stage.sent("a") == len(arrivals)
    async with AsyncExitStack() as serving:
        gateway.credentials = await gateway.serve_credentials(serving)
        serving.pop_all()
    await stage.serve("b", "c")
    assert (await stage.post({**question, "provider": {"only": [stage.provider("c")]}})).status == 200
    assert await stage.sent("c") == 1


async def test_a_sidecar_without_a_good_token_sends_no_credential(stage: SidecarStage) -> None:
    gateway = stage.gateway
    await stage.serve("b")
    (gateway.files / "token").write_text("another's")
    try:
        await stage.serve("a", "b")
        question = {"model": stage.model, "messages": _OPENER, "provider": {"only": [stage.provider("a")]}}
        answer = await stage.post(question)
        assert answer.status == 401, answer.body
        assert await stage.arrivals("a") == []
    finally:
        (gateway.files / "token").write_text(TOKEN)

    async def served() -> bool:
        return (await stage.post(question)).status == 200

    await until(served, "the credential")
