"""Files change while `limpet up` serves: every change takes effect, and no request is lost to it."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from dataclasses import replace as with_
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from tests.envoy.cast import LONG, headers_of, say
from tests.envoy.command import Command, write
from tests.envoy.stage import Answer, Stage
from tests.waiting import until

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.objects import Parser

if TYPE_CHECKING:
    from limpet_operator.serve.acknowledgements import Nack

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]


@dataclass
class Running:
    """The command over its directory, the story's stage, and traffic that never stops."""

    directory: Path
    command: Command
    stage: Stage
    answers: list[Answer] = field(default_factory=list)
    errors: list[BaseException] = field(default_factory=list)

    def put(self, name: str, spec: dict[str, Any] | None = None) -> None:
        """Write a provider's file."""
        write(self.directory, f"{name}.yaml", self.stage.objects([name], {name: spec or {}}, {}))

    async def served_by(self, *names: str) -> None:
        """Return when exactly these serve."""

        async def served() -> bool:
            return await self.stage.announced() == {self.stage.provider(name) for name in names}

        await until(served, f"{names} to serve")

    async def traffic(self) -> None:
        """New conversations, one after the other."""
        number = 0
        while True:
            number += 1
            try:
                self.answers.append(await self.stage.ask([say(LONG, "system"), say(f"Traffic {number}")]))
            except Exception as error:
                self.errors.append(error)
            await asyncio.sleep(0.02)

    async def answered_by(self, *names: str) -> None:
        """Return when traffic has reached all of these since now."""
        start = len(self.answers)

        async def reached() -> bool:
            return {answer.seller for answer in self.answers[start:]} >= set(names)

        await until(reached, f"traffic at {names}")


@asynccontextmanager
async def _traffic(running: Running) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(running.traffic()) for _ in range(3)]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    assert running.answers
    assert not running.errors, running.errors


@pytest_asyncio.fixture(loop_scope="session")
async def running(tmp_path: Path, numbers: Iterator[int], sellers: Sellers, parser: Parser) -> AsyncIterator[Running]:
    for seller in sellers:
        await seller.reset()
    async with (
        Command.up(tmp_path) as command,
        Stage(next(numbers), sellers, command, parser, command.metrics_port + 1) as stage,
    ):
        ready = Running(tmp_path, command, stage)
        ready.put("a")
        ready.put("b")
        await command.says("Ctrl-C ends everything")
        await ready.served_by("a", "b")
        yield ready


async def test_providers_come_change_and_go_without_a_lost_request(running: Running) -> None:
    stage = running.stage
    async with _traffic(running):
        await running.answered_by("a", "b")
        running.put("c")
        await running.served_by("a", "b", "c")
        await running.answered_by("a", "b", "c")

        models = [{"name": stage.model, "upstreamName": "flash.e"}]
        before = len(await stage.arrivals("e"))
        running.put("b", {"url": stage.sellers["e"].base_url, "models": models})

        async def moved() -> bool:
            return len(await stage.arrivals("e")) > before

        await until(moved, "traffic of b at its new url")
        (running.directory / "c.yaml").unlink()
        await running.served_by("a", "b")
        start = len(running.answers)
        await running.answered_by("a", "b")
        assert "c" not in {answer.seller for answer in running.answers[start + 3 :]}
        # Envoy loses the cluster only after a pause; until then and beyond nothing may go wrong.
        await asyncio.sleep(5.5)
        await running.answered_by("a", "b")
        running.put("c")
        await running.served_by("a", "b", "c")
        await running.answered_by("c")


async def test_a_stream_in_flight_survives_the_removal_of_its_provider(running: Running) -> None:
    stage = running.stage
    # Eight pieces and more: the stream outlasts the five seconds after which Envoy loses the cluster.
    await stage.sellers["b"].set_fault(Fault(kind="slow_drip", delay_s=0.7))
    steering = {"provider": {"only": [stage.provider("b")]}}
    asked = asyncio.create_task(stage.ask([say(LONG, "system"), say("A long tale")], stream=True, extra=steering))

    async def begun() -> bool:
        return bool(await stage.arrivals("b"))

    await until(begun, "the stream to begin")
    (running.directory / "b.yaml").unlink()
    await running.served_by("a")
    answer = await asked
    assert answer.text
    assert answer.usage is not None, "the stream lost its end"


async def test_a_rotated_key_is_used_from_then_on(running: Running) -> None:
    stage = running.stage
    async with _traffic(running):
        objects = stage.objects(["a"], {}, {})
        for each in objects:
            if each["kind"] == "Secret":
                each["stringData"] = {"k": "new-key-of-a"}
        write(running.directory, "a.yaml", objects)

        async def rotated() -> bool:
            arrivals = await stage.arrivals("a")
            return bool(arrivals) and headers_of(arrivals[-1])["authorization"] == "Bearer new-key-of-a"

        await until(rotated, "the new key at the seller")
        await running.answered_by("a", "b")
    keys = [headers_of(arrival)["authorization"] for arrival in await stage.arrivals("a")]
    first_new = keys.index("Bearer new-key-of-a")
    assert set(keys[first_new + 3 :]) <= {"Bearer new-key-of-a"}


async def test_a_bad_file_is_named_and_disturbs_no_other(running: Running) -> None:
    async with _traffic(running):
        (running.directory / "bad.yaml").write_text("kind: [")
        await running.command.says("bad.yaml")
        wrong = running.stage.objects(["c"], {"c": {"url": "ftp://nowhere"}}, {})
        write(running.directory, "c.yaml", wrong)
        line = await running.command.says("spec.url")
        assert "c.yaml" in running.command.output
        assert "http" in line
        await running.answered_by("a", "b")
        running.put("c")
        await running.served_by("a", "b", "c")
        await running.command.says("no longer so")


async def test_a_provider_that_turns_bad_leaves_and_comes_back(running: Running) -> None:
    async with _traffic(running):
        running.put("b", {"models": []})
        await running.command.says("spec.models")
        await running.served_by("a")
        running.put("b")
        await running.served_by("a", "b")
        await running.answered_by("a", "b")


async def test_what_envoy_refuses_is_shown_and_the_last_good_version_stays(
    numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> None:
    for seller in sellers:
        await seller.reset()
    refused: list[Nack] = []
    metrics_port = free_port()
    settings = LocalSettings(port=free_port(), extproc_metrics_port=metrics_port, drain_s=0.2, on_nack=refused.append)
    async with LocalGateway(settings) as gateway, Stage(next(numbers), sellers, gateway, parser, metrics_port) as stage:
        good = stage.planned(stage.objects(["a", "b"], {}, {}), {})
        gateway.apply(good)
        await gateway.ready()
        await stage.serve("a", "b")

        # No file can say this: what the schema lets through, Envoy takes. So the plan itself is made wrong.
        def spoilt(providers: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(
                with_(p, spec=with_(p.spec, timeouts=with_(p.spec.timeouts, connect_s=0)))
                if p.name == stage.provider("a")
                else p
                for p in providers
            )

        more = stage.planned(stage.objects(["a", "b", "c"], {}, {}), {})
        gateway.apply(with_(more, providers=spoilt(more.providers)))

        async def told() -> bool:
            return bool(refused)

        await until(told, "Envoy's refusal")
        assert refused[0].name == stage.provider("a")
        assert "connect_timeout" in refused[0].message or "ConnectTimeout" in refused[0].message

        async def the_others_came() -> bool:
            return stage.provider("c") in await stage.announced()

        await until(the_others_came, "the good provider of the same change")
        sellers_met = {(await stage.ask(f"Still {number}")).seller for number in range(24)}
        assert sellers_met == {"a", "b", "c"}
