"""The same stories for each way into the gateway: its Service under mTLS, and hosts that the mesh brings to it."""

import itertools
import json
import ssl
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from tests.cluster.world import ADDRESS
from tests.envoy.cast import LONG, body_of, headers_of, say
from tests.mesh.egress import MADE_UP, Egress
from tests.mesh.inside import http_session
from tests.mesh.mesh import Mesh
from tests.mesh.story import TLS, MeshStage, Town, authority_of, host_of

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Inside the mesh")]


def _of_meshes(headers: Iterable[str]) -> set[str]:
    return {name for name in headers if "forwarded" in name or name.startswith(("x-envoy", "x-b3", "x-limpet"))}


WAYS = ("the Service", "a made-up host", "a provider's host")


@pytest_asyncio.fixture(loop_scope="session", params=WAYS)
async def stage(
    request: pytest.FixtureRequest,
    numbers: Iterator[int],
    sellers: Sellers,
    town: Town,
    egress: Egress,
    parser: Parser,
) -> AsyncIterator[MeshStage]:
    """A stage for each way in."""
    for seller in sellers:
        await seller.reset()
    hosts = dict(zip(WAYS, (town.host, MADE_UP, host_of("a")), strict=True))
    async with MeshStage(next(numbers), sellers, town, parser, f"http://{hosts[request.param]}/v1") as ready:
        if request.param != WAYS[0]:
            await egress.bring(ready, ["a", "b", "c"])
            await town.app.envoy.knows(f"{MADE_UP}:80")
        yield ready


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_second_turn_is_served_from_the_cache(stage: MeshStage, stream: bool) -> None:
    await stage.serve("a", "b", "c")
    first = await stage.ask(_OPENER, stream=stream)
    await stage.settle()
    second = await stage.ask([*_OPENER, say(first.text, "assistant"), say("And then?")], stream=stream)
    assert (first.decision, second.decision) == ("first.scored", "sticky.hit")
    assert (first.seller, 0) == (second.seller, first.usage.prompt_cache_hit_tokens)
    assert second.usage.prompt_cache_hit_tokens > 0


async def test_anthropics_sdk_is_served(stage: MeshStage) -> None:
    await stage.serve("a", "b")
    turns = [say("Inside the mesh")]
    first, reason = await stage.message(turns)
    assert (reason, first.usage.cache_read_input_tokens) == ("first.scored", 0)
    await stage.settle()
    second, reason = await stage.message([*turns, say(first.content[0].text, "assistant"), say("And then?")])
    assert reason == "sticky.hit"
    assert second.usage.cache_read_input_tokens > 0


async def test_the_client_is_served_elsewhere_when_a_provider_fails(stage: MeshStage) -> None:
    await stage.serve("a", "b", "c")
    first = await stage.ask(_OPENER)
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault(kind="reset_before_headers"))
    assert (await stage.ask(_OPENER)).seller != first.seller


async def test_a_provider_without_tls_hears_nothing_of_the_mesh(stage: MeshStage) -> None:
    await stage.serve("a")
    await stage.ask(_OPENER)
    (arrival,) = await stage.arrivals("a")
    heard = headers_of(arrival)
    assert not _of_meshes(heard)
    assert stage.key not in str(heard)


async def test_each_provider_gets_its_own_name_path_and_key_and_no_others(stage: MeshStage, egress: Egress) -> None:
    everyone = ("a", "b", "e", TLS)
    await egress.bring(stage, everyone)
    await stage.serve(*everyone)
    body: dict[str, Any] = {"messages": [say('"model":"x" first')], "model": stage.model}
    for pair in itertools.permutations(everyone, 2):
        for seller in pair:
            answer = await stage.post({**body, "provider": {"only": [stage.provider(seller)]}})
            assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider(seller)), answer.body
    for seller in everyone:
        arrivals = await stage.arrivals(seller)
        assert len(arrivals) == 2 * (len(everyone) - 1)
        for arrival in arrivals:
            assert body_of(arrival) == json.dumps({**body, "model": f"flash.{seller}"}).encode()
            assert arrival.path == f"{stage.sellers[seller].config.prefix}/chat/completions"
            heard = headers_of(arrival)
            assert (f"key-of-{seller}" in str(heard)) == bool(stage.sellers[seller].config.api_keys)
            assert not [other for other in everyone if other != seller and f"key-of-{other}" in str(heard)]
            assert stage.key not in str(heard)
            assert not _of_meshes(heard)


async def test_two_providers_on_one_host_get_each_its_own(stage: MeshStage, egress: Egress) -> None:
    host = stage.town.mesh.name("shared.example", ADDRESS)
    specs = {name: {"url": stage.sellers[name].base_url.replace(ADDRESS, host)} for name in ("b", "d")}
    assert len({stage.sellers[name].config.prefix for name in specs}) == 2
    await egress.bring(stage, ["a", *specs], specs)
    await stage.serve(*specs, specs=specs)
    for seller in specs:
        body = {"messages": [say("Shared")], "model": stage.model, "provider": {"only": [stage.provider(seller)]}}
        assert (await stage.post(body)).headers["x-limpet-provider"] == stage.provider(seller)
        (arrival,) = await stage.arrivals(seller)
        assert arrival.path == f"{stage.sellers[seller].config.prefix}/chat/completions"
        assert f"key-of-{seller}" in str(headers_of(arrival))


async def test_a_provider_with_tls_hears_nothing_of_the_mesh(stage: MeshStage, egress: Egress) -> None:
    await egress.bring(stage, ["a", TLS])
    await stage.serve(TLS)
    first = await stage.ask(_OPENER)
    await stage.settle()
    assert (await stage.ask(_OPENER)).decision == "sticky.hit"
    assert first.seller == TLS
    for arrival in await stage.arrivals(TLS):
        assert not _of_meshes(headers_of(arrival))


async def test_https_of_an_application_goes_to_the_provider_as_before(stage: MeshStage, egress: Egress) -> None:
    await egress.bring(stage, ["a", TLS])
    seller = stage.sellers[TLS]
    assert seller.config.tls is not None
    await stage.town.app.envoy.knows(f"outbound|{seller.port}||{host_of(TLS)}")
    trusting = ssl.create_default_context(cadata=authority_of(seller.config.tls))
    key = {"authorization": f"Bearer {seller.config.api_keys[0]}"}
    url = f"https://{host_of(TLS)}:{seller.port}{seller.config.base}/models"
    async with stage.http.get(url, headers=key, ssl=trusting) as answer:
        assert answer.status == 200
        assert "x-limpet-provider" not in answer.headers


async def test_who_has_no_identity_is_not_heard(town: Town, mesh: Mesh) -> None:
    async with (
        mesh.workload("stranger", town.app.namespace, sidecar=False) as stranger,
        http_session(lambda _: stranger.pod, 30) as outside,
    ):
        with pytest.raises(aiohttp.ClientError):
            await outside.get(f"http://{town.pod.pod.ip}:8080/v1/models")
