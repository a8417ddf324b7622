"""A client without a key is its workload, by the word of the sidecar in front of the gateway and of nobody else."""

from collections.abc import AsyncIterator, Iterator

import aiohttp
import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, headers_of, say
from tests.envoy.stage import Stage

from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

SIDECAR, PORT_FORWARD = "127.0.0.6", "127.0.0.1"
SHOP = "By=spiffe://cluster.local/ns/limpet/sa/gateway;Hash=00;URI=spiffe://cluster.local/ns/shop/sa/checkout"
CHAT = "By=spiffe://cluster.local/ns/limpet/sa/gateway;Hash=00;URI=spiffe://cluster.local/ns/chat/sa/bot"


@pytest_asyncio.fixture(loop_scope="session", params=[False, True], ids=["metadata", "header"])
async def stage(
    request: pytest.FixtureRequest, numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> AsyncIterator[Stage]:
    for seller in sellers:
        await seller.reset()
    metrics_port = free_port()
    settings = LocalSettings(
        port=free_port(),
        extproc_metrics_port=metrics_port,
        drain_s=0.5,
        header_mode=request.param,
        tenant_from_workload=True,
    )
    async with LocalGateway(settings) as gateway:
        gateway.apply(Plan())
        await gateway.ready()
        async with Stage(next(numbers), sellers, gateway, parser, metrics_port) as ready:
            yield ready


async def family(stage: Stage, address: str, workload: str, key: str, conversation: str) -> str:
    """Whether a turn that comes from this address is the first of its conversation or sticks."""
    headers = {
        "x-forwarded-client-cert": workload,
        "limpet-workload": f"{SIDECAR} {CHAT}",
        "x-session-id": conversation,
    }
    headers["authorization"] = f"Bearer {key}"
    body = {"model": stage.model, "messages": [say(LONG, "system"), say("Whose?")]}
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(local_addr=(address, 0))) as http,
        http.post(f"{stage.base_url}/chat/completions", json=body, headers=headers) as answer,
    ):
        assert answer.status == 200
        return answer.headers["x-limpet-decision"].partition(".")[0]


async def test_only_the_sidecars_word_counts(stage: Stage) -> None:
    await stage.serve("a", "b")
    assert await family(stage, SIDECAR, SHOP, "key-1", "one") == "first"
    assert await family(stage, SIDECAR, SHOP, "key-2", "one") == "sticky", "the same workload"
    assert await family(stage, SIDECAR, CHAT, "key-1", "one") == "first", "another one"
    assert await family(stage, PORT_FORWARD, SHOP, "key-1", "one") == "first", "nobody's word"
    assert await family(stage, PORT_FORWARD, CHAT, "key-1", "one") == "sticky", "the key is the tenant"
    several = f"{SHOP},{SHOP}"
    assert await family(stage, SIDECAR, several, "key-3", "one") == "first", "no sidecar's own"
    for seller in "ab":
        for arrival in await stage.arrivals(seller):
            assert not [name for name in headers_of(arrival) if "workload" in name or "forwarded" in name]
            assert "spiffe" not in str(arrival.headers)
