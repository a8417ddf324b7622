"""Mode sidecar under a real istiod: the application's own Envoy asks the workers, and sends to providers itself."""

import asyncio
import itertools
import json
import ssl
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
import pytest_asyncio
from tests.cluster.pods import Pod
from tests.cluster.world import ADDRESS
from tests.envoy.cast import LONG, body_of, headers_of, say
from tests.mesh.credentials import Sds, channel
from tests.mesh.identity import Identity, sign, token_for
from tests.mesh.inside import network_of, socket_in
from tests.mesh.loaded import FURTHER, answered_by, loaded
from tests.mesh.mesh import Mesh
from tests.mesh.sidecar_mode import MADE_UP, WORKERS_PORT, AsideStage, SidecarMode
from tests.mesh.story import TLS
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.publish.sidecar_listener import HEALTH_CHECK
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("By the sidecar of a mesh")]
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
"""How a client of HTTP/2 begins; a server then sends its settings."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mode(mesh: Mesh, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[SidecarMode]:
    async with SidecarMode.built(mesh, tmp_path_factory.mktemp("sidecar_mode")) as built:
        yield built


@pytest_asyncio.fixture(loop_scope="session")
async def stage(
    numbers: Iterator[int], sellers: Sellers, mode: SidecarMode, parser: Parser
) -> AsyncIterator[AsideStage]:
    for seller in sellers:
        await seller.reset()
    async with AsideStage(next(numbers), sellers, mode.town, parser, f"http://{MADE_UP}/v1") as ready:
        yield ready


async def test_second_turns_are_served_from_the_cache_by_the_sidecar_alone(
    stage: AsideStage, mode: SidecarMode
) -> None:
    await mode.bring(stage, "a", "b", TLS)
    for number, stream in enumerate((False, True), start=1):
        opener = [say(f"{number}. {LONG}", "system"), say("By the sidecar of a mesh")]
        first = await stage.ask(opener, stream=stream)
        await stage.settle()
        second = await stage.ask([*opener, say(first.text, "assistant"), say("And then?")], stream=stream)
        assert (first.decision, second.decision) == ("first.scored", "sticky.hit")
        assert (first.seller, 0) == (second.seller, first.usage.prompt_cache_hit_tokens)
        assert second.usage.prompt_cache_hit_tokens > 0
    turns = [say("By Anthropic's SDK")]
    message, reason = await stage.message(turns)
    assert (reason, message.usage.cache_read_input_tokens) == ("first.scored", 0)
    await stage.settle()
    message, reason = await stage.message([*turns, say(message.content[0].text, "assistant"), say("And then?")])
    assert reason == "sticky.hit"
    assert message.usage.cache_read_input_tokens > 0
    assert sum([await stage.sent(seller) for seller in ("a", "b", TLS)]) == 6, "none went through the gateway"


async def test_each_provider_gets_its_own_name_path_and_key(stage: AsideStage, mode: SidecarMode) -> None:
    everyone = ("a", "b", "e", TLS)
    await mode.bring(stage, *everyone)
    body: dict[str, Any] = {"messages": [say('"model":"x" first')], "model": stage.model}
    for pair in itertools.permutations(everyone, 2):
        for seller in pair:
            answer = await stage.post({**body, "provider": {"only": [stage.provider(seller)]}})
            assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider(seller)), answer.body
    for seller in everyone:
        arrivals = await stage.arrivals(seller)
        assert len(arrivals) == await stage.sent(seller) == 2 * (len(everyone) - 1)
        for arrival in arrivals:
            assert body_of(arrival) == json.dumps({**body, "model": f"flash.{seller}"}).encode()
            assert arrival.path == f"{stage.sellers[seller].config.prefix}/chat/completions"
            heard = headers_of(arrival)
            assert (f"key-of-{seller}" in str(heard)) == bool(stage.sellers[seller].config.api_keys)
            assert not [other for other in everyone if other != seller and f"key-of-{other}" in str(heard)]
            assert stage.key not in str(heard)
            assert not [name for name in heard if name.startswith(("x-limpet-", "x-envoy-", "x-forwarded-"))]


async def test_providers_come_move_and_go_and_no_request_is_lost(stage: AsideStage, mode: SidecarMode) -> None:
    moved = mode.town.mesh.name("b.moved.example", ADDRESS)
    there = {"b": {"url": stage.url_at("b", moved)}}
    await mode.bring(stage, "a", "b")
    async with loaded(stage) as load:

        async def served_by(*sellers: str) -> None:
            before = {seller: await stage.sent(seller) for seller in sellers}
            await answered_by(load, *sellers)
            assert [seller for seller in sellers if await stage.sent(seller) <= before[seller]] == []

        await served_by("a", "b")
        await mode.bring(stage, "a", "b", "c")
        load.conversations = FURTHER
        await served_by("a", "b", "c")
        await mode.bring(stage, "a", "b", "c", specs=there)
        await served_by("a", "b", "c")
        await mode.bring(stage, "b", "c", specs=there)
        await served_by("b", "c")


async def test_without_a_worker_the_gateway_serves_until_there_is_one(stage: AsideStage, mode: SidecarMode) -> None:
    await mode.bring(stage, "a", "b")
    await stage.ask(_OPENER)

    async def sent() -> int:
        return await stage.sent("a") + await stage.sent("b")

    before, gateway = await sent(), mode.town.gateway
    assert before == 1
    gateway.children.kill("ext_proc")
    for number in range(5):
        answer = await stage.post({"model": stage.model, "messages": [say(f"Without {number}")]})
        assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "fallback.undecided")
    assert await sent() == before
    with network_of(mode.town.pod.pod):
        await gateway.start_extproc()
    await gateway.ready()

    async def decided() -> bool:
        await stage.ask(_OPENER)
        return await sent() > before

    await until(decided, "a decision for the sidecar")


async def test_a_pod_without_identity_gets_no_word_from_the_workers(
    mode: SidecarMode, mesh: Mesh, tmp_path: Path
) -> None:
    async with mesh.workload("stranger", mode.town.app.namespace, sidecar=False) as stranger:
        assert await heard(mode, stranger.pod, None, tmp_path) == b""
        # The same pod with an identity is heard, so it was that.
        identity = mode.town.app.identity
        assert identity is not None
        assert len(await heard(mode, stranger.pod, identity, tmp_path)) > 0


async def heard(mode: SidecarMode, pod: Pod, identity: Identity | None, files: Path) -> bytes:
    """What the listener for sidecars says to a client in the pod that shows this identity."""
    context = ssl.create_default_context(cadata=mode.authority.pem)
    context.set_alpn_protocols(["h2"])
    if identity is not None:
        pem = files / "identity.pem"
        pem.write_text(identity.chain + identity.key)
        context.load_cert_chain(pem)
    made = socket_in(pod)
    await asyncio.get_running_loop().sock_connect(made, (mode.town.pod.pod.ip, WORKERS_PORT))
    name = mode.gateway.certified_name
    try:
        reader, writer = await asyncio.open_connection(sock=made, ssl=context, server_hostname=name)
    except (ssl.SSLError, ConnectionError):
        return b""
    try:
        writer.write(_PREFACE)
        return await reader.read(64)
    except (ssl.SSLError, ConnectionError):
        return b""
    finally:
        writer.transport.abort()


async def test_an_identity_of_another_namespace_is_told_no_by_workers_and_operator(
    stage: AsideStage, mode: SidecarMode, mesh: Mesh
) -> None:
    await stage.serve("a", "b")
    app = mode.town.app
    elsewhere = await mesh.namespace("elsewhere")
    async with mesh.workload("shop", elsewhere, sidecar=False):
        token = await asyncio.to_thread(token_for, mesh.server, elsewhere, "shop")
    own = await asyncio.to_thread(token_for, mesh.server, app.namespace, "shop")
    stranger = await sign(mesh.istiod.address, token)
    assert app.identity is not None
    assert await called(mode, app.identity) is grpc.StatusCode.OK
    assert await called(mode, stranger) is grpc.StatusCode.PERMISSION_DENIED
    names = [stage.provider(seller) for seller in "ab"]
    sds = Sds(f"{ADDRESS}:{mode.told.credentials_port}", mode.authority.pem.encode(), mode.gateway.operator_host)
    assert any(name in secret for secret in await sds.secrets(own) for name in names)
    for refused in (token, "made up", ""):
        with pytest.raises(grpc.aio.AioRpcError) as error:
            await sds.secrets(refused)
        assert error.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert not any(name in str(error.value) for name in names)


async def called(mode: SidecarMode, identity: Identity) -> grpc.StatusCode:
    """How a call to the workers ends."""
    pem = mode.authority.pem.encode()
    credentials = grpc.ssl_channel_credentials(pem, identity.key.encode(), identity.chain.encode())
    target = f"{mode.town.pod.pod.ip}:{WORKERS_PORT}"
    async with channel(target, credentials, mode.gateway.certified_name) as opened:
        try:
            await opened.unary_unary(HEALTH_CHECK)(b"", timeout=20)
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK
