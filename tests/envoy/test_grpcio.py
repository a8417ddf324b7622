"""With `--server grpcio` the real Envoy is answered as by our own server: the main stories once more."""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, big, body_of, say
from tests.envoy.conftest import set_stage
from tests.envoy.group import Load, all_decide, gateway_of_two, shared_memory, workers_of
from tests.envoy.messages import message
from tests.envoy.stage import Stage
from tests.envoy.upstream import Upstream
from tests.extproc.memory.redis_server import RedisServer, servers

from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.keeper import ask
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

BY_GRPCIO: Final = "--server=grpcio"


@asynccontextmanager
async def gateway(*, header_mode: bool) -> AsyncIterator[tuple[LocalGateway, int]]:
    metrics_port = free_port()
    settings = LocalSettings(
        port=free_port(),
        header_mode=header_mode,
        extproc_metrics_port=metrics_port,
        drain_s=0.5,
        extproc_flags=(BY_GRPCIO,),
    )
    async with LocalGateway(settings) as running:
        running.apply(Plan())
        await running.ready()
        yield running, metrics_port


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=[False, True], ids=["metadata", "header"])
async def by_grpcio(request: pytest.FixtureRequest) -> AsyncIterator[tuple[LocalGateway, int]]:
    async with gateway(header_mode=request.param) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def scene(
    numbers: Iterator[int], sellers: Sellers, by_grpcio: tuple[LocalGateway, int], parser: Parser
) -> AsyncIterator[Stage]:
    async with set_stage(next(numbers), sellers, by_grpcio, parser) as ready:
        yield ready


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
async def test_a_conversation_stays_where_the_access_log_says_it_is_warm(scene: Stage, stream: bool) -> None:
    await scene.serve("a", "b", "c")
    answers = []
    for _ in range(3):
        answers.append(await scene.ask([say(LONG, "system"), say("By gRPC")], stream=stream))
        await scene.settle()
    assert len({answer.seller for answer in answers}) == 1
    assert [answer.decision for answer in answers] == ["first.scored", "sticky.hit", "sticky.hit"]


async def test_a_request_that_is_wrong_is_refused_with_the_reason(scene: Stage) -> None:
    await scene.serve("a")
    unknown = await scene.post({"model": "nobody/has-it", "messages": [say("Hi")]})
    assert (unknown.status, unknown.json["error"]["param"]) == (404, "model")
    broken = await scene.post(b'{"model": ')
    assert broken.status == 400
    assert await scene.arrivals("a") == []
    assert (await scene.ask("Still alive?")).seller == "a"


async def test_a_big_body_passes_whole(scene: Stage) -> None:
    await scene.serve("b")
    body = json.dumps({"messages": [big(20 << 20)], "model": scene.model}).encode()
    assert (await scene.post(body)).status == 200
    assert body_of((await scene.arrivals("b"))[0]) == body.replace(scene.model.encode(), b"flash.b")


async def test_many_at_once_are_all_decided_and_all_learned_from(scene: Stage) -> None:
    await scene.serve("a", "b", "c")
    messages: list[Any] = [[say(LONG, "system"), say(f"Chat {number}")] for number in range(100)]
    first = await asyncio.gather(*(scene.ask(each) for each in messages))
    await scene.settle()
    second = await asyncio.gather(*(scene.ask(each) for each in messages))
    await scene.settle()
    assert {answer.decision for answer in first} == {"first.scored"}
    assert {answer.decision for answer in second} == {"sticky.hit"}
    assert [answer.seller for answer in first] == [answer.seller for answer in second]
    stats = await ask(scene.gateway.admin_socket, "/stats?filter=^cluster.limpet_extproc.*_error") or b""
    errors = dict(re.findall(r"cluster\.limpet_extproc\.(\S+): (\d+)", stats.decode()))
    assert (errors["upstream_cx_protocol_error"], errors["http2.rx_messaging_error"]) == ("0", "0")


async def test_a_translated_question_and_its_answer(numbers: Iterator[int], sellers: Sellers, parser: Parser) -> None:
    """The translator is reached by a socket that its worker has opened."""
    async with (
        gateway(header_mode=False) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
        Upstream(lambda _: message()) as upstream,
    ):
        await stage.serve("a", specs={"a": {"vendor": "Anthropic", "url": upstream.url}})
        got = await stage.client.chat.completions.create(model=stage.model, messages=[say("Where is it?")])
        assert got.choices[0].message.content == "At home."
        assert [request.target for request in upstream.got] == ["/v1/messages"]


async def test_a_killed_worker_is_started_again_and_the_other_decides_meanwhile(
    numbers: Iterator[int], sellers: Sellers, parser: Parser, tmp_path: Path
) -> None:
    with servers(RedisServer(tmp_path)) as (redis,):
        async with (
            gateway_of_two([*shared_memory(redis.url, tmp_path), BY_GRPCIO]) as running,
            set_stage(next(numbers), sellers, running, parser) as stage,
        ):
            await stage.serve("a", "b", "c")
            await all_decide(stage)
            load = Load(stage)
            loading = asyncio.create_task(load.run(6))
            await asyncio.sleep(2)
            victim, other = workers_of(stage)
            victim.kill()
            await loading
            assert load.errors == []
            assert all(len(homes) == 1 for homes in load.homes().values())
            assert load.undecided() <= 5, "Envoy went on asking the dead one"
            assert await stage.metric("limpet_worker_restarts_total") == 1
            assert other in workers_of(stage)
            await all_decide(stage)
