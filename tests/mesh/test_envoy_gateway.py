"""Envoy Gateway's own controller and Envoys, by the examples: one passes requests on, one asks the workers itself."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import anthropic
import openai
import pytest
import pytest_asyncio
from tests.cluster.world import ADDRESS
from tests.envoy.cast import LONG, PLAIN, headers_of, say
from tests.mesh.behind_envoy_gateway import Behind, BehindStage, only_of
from tests.mesh.envoy_gateway import CONTROLLER, EnvoyGateway
from tests.mesh.loaded import FURTHER, answered_by, loaded
from tests.mesh.story import TLS
from tests.waiting import until

from limpet_lab.kubernetes.istiod import Istiod
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Behind Envoy Gateway")]


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def route(envoy_gateway: EnvoyGateway) -> AsyncIterator[Behind]:
    async with Behind.passing(envoy_gateway) as ready:
        yield ready


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def header_mode(envoy_gateway: EnvoyGateway, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Behind]:
    async with Behind.asking(envoy_gateway, tmp_path_factory.mktemp("header_mode")) as ready:
        yield ready


@pytest_asyncio.fixture(loop_scope="session")
async def passing(
    numbers: Iterator[int], sellers: Sellers, route: Behind, parser: Parser
) -> AsyncIterator[BehindStage]:
    """Behind an Envoy that passes everything on to the gateway."""
    for seller in sellers:
        await seller.reset()
    async with BehindStage(next(numbers), sellers, route, parser) as ready:
        yield ready


@pytest_asyncio.fixture(loop_scope="session")
async def asking(
    numbers: Iterator[int], sellers: Sellers, header_mode: Behind, parser: Parser
) -> AsyncIterator[BehindStage]:
    """Behind an Envoy that asks the workers."""
    for seller in sellers:
        await seller.reset()
    async with BehindStage(next(numbers), sellers, header_mode, parser) as ready:
        yield ready


@dataclass(frozen=True, slots=True)
class Stages:
    """Both, for what clients see of each."""

    passing: BehindStage
    asking: BehindStage


@pytest.fixture
def stages(passing: BehindStage, asking: BehindStage) -> Stages:
    return Stages(passing, asking)


EITHER = pytest.mark.parametrize("way", ["passing", "asking"])


@EITHER
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_second_turn_is_served_from_the_cache(stages: Stages, way: str, stream: bool) -> None:
    stage: BehindStage = getattr(stages, way)
    await stage.bring("a", "b", TLS)
    first = await stage.ask(_OPENER, stream=stream, model=PLAIN)
    await stage.settle()
    second = await stage.ask([*_OPENER, say(first.text, "assistant"), say("And then?")], stream=stream, model=PLAIN)
    assert (first.decision, second.decision) == ("first.scored", "sticky.hit")
    assert (first.seller, 0) == (second.seller, first.usage.prompt_cache_hit_tokens)
    assert second.usage.prompt_cache_hit_tokens > 0


@EITHER
async def test_anthropics_sdk_is_served(stages: Stages, way: str) -> None:
    stage: BehindStage = getattr(stages, way)
    await stage.bring("a", "b")
    turns = [say("Behind Envoy Gateway")]
    first, reason = await stage.message(turns)
    assert (reason, first.usage.cache_read_input_tokens) == ("first.scored", 0)
    await stage.settle()
    second, reason = await stage.message([*turns, say(first.content[0].text, "assistant"), say("And then?")])
    assert reason == "sticky.hit"
    assert second.usage.cache_read_input_tokens > 0


@EITHER
async def test_what_is_refused_is_json_in_the_clients_dialect(stages: Stages, way: str) -> None:
    stage: BehindStage = getattr(stages, way)
    await stage.bring("a")
    with pytest.raises(openai.NotFoundError) as unknown:
        await stage.ask("?", model="nobody-has-it")
    assert unknown.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError) as told:
        await stage.message([say("?")], model="nobody-has-it")
    assert isinstance(told.value.body, dict)
    assert told.value.body["error"]["type"] == "not_found_error"


async def test_the_client_is_served_elsewhere_when_a_provider_fails(passing: BehindStage) -> None:
    await passing.serve("a", "b", "c")
    first = await passing.ask(_OPENER)
    await passing.settle()
    await passing.sellers[first.seller].set_fault(Fault(kind="reset_before_headers"))
    assert (await passing.ask(_OPENER)).seller != first.seller


async def test_providers_come_move_and_go_and_no_request_is_lost(passing: BehindStage) -> None:
    moved = passing.behind.envoy_gateway.name("b.elsewhere.example", ADDRESS)
    there = {"b": {"url": passing.sellers["b"].base_url.replace(ADDRESS, moved)}}
    await passing.serve("a", "b")
    async with loaded(passing) as load:
        await answered_by(load, "a", "b")
        await passing.serve("a", "b", "c")
        load.conversations = FURTHER
        await answered_by(load, "a", "b", "c")
        await passing.serve("a", "b", "c", specs=there)
        await answered_by(load, "a", "b", "c")
        await passing.serve("b", "c", specs=there)
        await answered_by(load, "b", "c")


async def test_the_route_itself_changes_and_no_request_is_lost(passing: BehindStage) -> None:
    await passing.serve("a", "b")
    behind = passing.behind
    (route,) = (each for each in behind.objects if each["kind"] == "HTTPRoute")
    further = {**route, "spec": {**route["spec"], "hostnames": [behind.host, "further.example"]}}
    name = behind.envoy_gateway.name("further.example", behind.envoy_gateway.names[behind.host])
    url = f"{passing.origin.replace(behind.host, name)}/v1/models"
    async with loaded(passing) as load:
        await answered_by(load, "a", "b")
        await behind.envoy_gateway.apply(further)

        async def known() -> bool:
            async with passing.http.get(url) as answer:
                return answer.status == 200

        await until(known, "the further host")
        await answered_by(load, "a", "b")
        await behind.envoy_gateway.apply(route)
        await answered_by(load, "a", "b")


async def test_each_provider_gets_its_own_name_path_and_key(asking: BehindStage) -> None:
    everyone = ("a", "b", "c", "e", TLS)
    await asking.bring(*everyone)
    for pair in itertools.permutations(everyone, 2):
        for seller in pair:
            answer = await asking.post({"messages": [say("Whose key?")], "model": only_of(seller)})
            assert answer.status == 200, answer.body
            assert answer.headers["x-limpet-cluster"] == asking.provider(seller), "none went through the gateway"
    for seller in everyone:
        arrivals = await asking.arrivals(seller)
        assert len(arrivals) == 2 * (len(everyone) - 1)
        for arrival in arrivals:
            assert arrival.path == f"{asking.sellers[seller].config.prefix}/chat/completions"
            heard = headers_of(arrival)
            assert heard["host"].partition(":")[0] == f"{seller}.reached.example"
            assert (f"key-of-{seller}" in str(heard)) == bool(asking.sellers[seller].config.api_keys)
            assert not [other for other in everyone if other != seller and f"key-of-{other}" in str(heard)]
            assert asking.key not in str(heard)
            assert not [name for name in heard if name.startswith(("x-limpet-", "x-envoy-", "x-forwarded-for"))]


async def test_a_client_does_not_choose_a_provider_by_itself(asking: BehindStage) -> None:
    await asking.bring("a", "b")
    chosen = {"x-limpet-cluster": asking.provider("a")}
    # The workers decide nothing about files, so nothing of theirs overwrites what the client says.
    assert (await asking.post({}, path="/v1/files", headers=chosen)).status == 404
    answer = await asking.post({"model": only_of("b"), "messages": [say("To a!")]}, headers=chosen)
    assert answer.headers["x-limpet-provider"] == asking.provider("b")
    assert await asking.arrivals("a") == []


async def test_a_provider_that_the_envoy_has_no_rule_for_is_served_by_the_gateway(asking: BehindStage) -> None:
    await asking.bring("a")
    specs = {seller: {"models": [{"name": asking.model}, {"name": only_of(seller)}]} for seller in ("a", "b")}
    await asking.serve("a", "b", specs=specs)
    by = {}
    for seller in ("a", "b"):
        answer = await asking.post({"model": only_of(seller), "messages": [say("With a rule?")]})
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, asking.provider(seller))
        by[seller] = "x-limpet-cluster" in answer.headers
    assert by == {"a": True, "b": False}


async def test_a_long_prompt_is_decided(asking: BehindStage) -> None:
    await asking.bring("a")
    assert (await asking.ask([say(LONG * 300)], model=PLAIN)).decision == "first.scored"


FAULTS = [Fault(kind="reset_before_headers"), *(Fault(kind="status", status=status) for status in (401, 429, 503))]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: f"{fault.kind}-{fault.status}")
async def test_the_next_turn_goes_elsewhere_when_a_provider_fails(asking: BehindStage, fault: Fault) -> None:
    await asking.bring("a", "b")
    turns = [say(LONG, "system"), say(f"Who serves after {fault}?")]
    first = await asking.ask(turns, model=PLAIN)
    await asking.settle()
    await asking.sellers[first.seller].set_fault(fault)
    with pytest.raises(openai.APIStatusError):
        await asking.ask(turns, model=PLAIN)

    async def elsewhere() -> bool:
        try:
            return (await asking.ask(turns, model=PLAIN)).seller != first.seller
        except openai.APIStatusError:
            return False

    await until(elsewhere, "an answer of the other")


async def test_istio_in_the_same_cluster_leaves_the_policy_for_the_workers_alone(
    asking: BehindStage, istiod: Istiod
) -> None:
    behind = asking.behind
    (policy,) = (each for each in behind.objects if each["kind"] == "BackendTLSPolicy")

    async def said() -> dict[str, str]:
        """The reason of every controller's condition Accepted."""
        where = ("--namespace", behind.namespace, policy["kind"], policy["metadata"]["name"])
        found = await asyncio.to_thread(behind.envoy_gateway.server.get, *where)
        return {
            ancestor["controllerName"]: condition["reason"]
            for ancestor in found["status"]["ancestors"]
            for condition in ancestor["conditions"]
            if condition["type"] == "Accepted"
        }

    async def both() -> bool:
        return len(await said()) == 2

    assert istiod.program.alive()
    await until(both, "what both controllers say of the policy")
    by = await said()
    assert by.pop(CONTROLLER) == "Accepted"
    assert [*by.values()] == ["IgnoredByIstio"]
    await behind.envoy_gateway.accepted(policy)
    await asking.bring("a")
    assert (await asking.ask(_OPENER, model=PLAIN)).decision == "first.scored"


async def test_without_a_worker_the_gateway_serves_until_there_is_one(asking: BehindStage) -> None:
    await asking.bring("a", "b")
    asking.behind.gateway.children.kill("ext_proc")
    answer = await asking.post({"model": PLAIN, "messages": [say("Without")]})
    assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "fallback.undecided")
    assert "x-limpet-cluster" not in answer.headers
    await asking.behind.gateway.start_extproc()
    await asking.behind.gateway.ready()

    async def decided() -> bool:
        answer = await asking.post({"model": PLAIN, "messages": [say("With one")]})
        return "x-limpet-cluster" in answer.headers

    await until(decided, "a decision for the Envoy of Envoy Gateway")
