"""What `limpet up` says of the health of its providers, by requests and by probes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import openai
import pytest
from tests.envoy.cast import LONG, PLAIN, say
from tests.envoy.command import Command, write
from tests.envoy.stage import Stage
from tests.envoy.up import stage_over, until_served, write_providers
from tests.envoy.upstream import Got, Reply, Upstream, completion
from tests.waiting import until

from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_KEYS: Final = {
    "apiVersion": "limpet.dev/v1alpha1",
    "kind": "HealthProbe",
    "metadata": {"name": "keys"},
    "spec": {
        "providerSelector": {},
        "interval": "2s",
        "timeout": "2s",
        "http": {"path": "/models"},
        "thresholds": {"failuresToDown": 1, "successesToUp": 1},
    },
}
_OPENER: Final = [say(LONG, "system"), say("Up and away")]


async def test_a_provider_that_refuses_its_key_is_reported_once(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    async with Command.up(tmp_path) as command, stage_over(number, sellers, command, parser) as stage:
        write_providers(tmp_path, stage, "a", "b")
        await command.says("Ctrl-C ends everything")
        await until_served(stage, "a", "b")
        await sellers["a"].set_fault(Fault(kind="status", status=401))
        order = {"provider": {"order": [stage.provider("a"), stage.provider("b")]}}
        for _ in range(2):
            answer = await stage.ask(_OPENER, extra=order)
            assert answer.seller == "b"
        line = await command.says("rejects the API key")
        assert f"  {stage.provider('a')} is Down (CredentialRefused): it rejects the API key: 401" in line
        await sellers["a"].reset()
        await stage.ask(_OPENER, extra=order)
        assert stage.provider("a") in await command.says("is Up again")
        assert sum("CredentialRefused" in each for each in command.lines) == 1
        assert stage.key not in command.output


@asynccontextmanager
async def _refused_and_probed(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser
) -> AsyncIterator[tuple[Upstream, Command, Stage]]:
    """`limpet up` with a provider that refuses its key, and a HealthProbe for it."""
    refusal = Reply(status=401, body={"error": {"message": "Incorrect API key provided"}})
    async with (
        Upstream(lambda _: refusal) as upstream,
        Command.up(tmp_path) as command,
        stage_over(number, sellers, command, parser) as stage,
    ):
        await command.says("Ctrl-C ends everything")
        write_providers(tmp_path, stage, "a", specs={"a": {"url": f"http://127.0.0.1:{upstream.port}/v1"}})
        write(tmp_path, "probe.yaml", [_KEYS])
        yield upstream, command, stage


async def test_what_probes_find_is_reported_once_and_not_with_every_probe(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    async with _refused_and_probed(tmp_path, number, sellers, parser) as (upstream, command, stage):
        await command.says("; 1 HealthProbe over 1 provider")
        line = await command.says("rejects the API key")
        name = stage.provider("a")
        assert f"  {name} is Down (CredentialRefused): it rejects the API key: 401" in line
        assert "(seen by probe keys)" in line
        seen = len(upstream.got)
        await until(lambda: len(upstream.got) >= seen + 3)
        upstream.script = lambda _: Reply(body={"object": "list", "data": []})
        assert f"{name} is Up again: its last probes were answered" in await command.says("is Up again")
        assert sum(f"{name} is Down" in each for each in command.lines) == 1


async def test_good_probes_end_what_requests_saw_without_any_request(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    async with _refused_and_probed(tmp_path, number, sellers, parser) as (upstream, command, stage):
        await command.says("rejects the API key")
        for turn in range(3):
            with pytest.raises(openai.APIStatusError):
                await stage.ask(f"Let me in, {turn}")
        upstream.script = lambda got: completion() if got.target.endswith("/completions") else Reply(body={"data": []})
        name = stage.provider("a")
        assert f"{name} is Up again" in await command.says("is Up again")

        async def is_back() -> bool:
            return await stage.metric("limpet_provider_out", provider=name) == 0

        await until(is_back, "the provider to be back")
        assert (await stage.ask("And now")).decision != "last_resort.all_out"
        assert sum(f"{name} is Down" in each for each in command.lines) == 1


async def test_a_model_that_a_provider_lacks_is_named_and_its_other_models_are_served(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    def script(got: Got) -> Reply:
        if got.json["model"] == PLAIN:
            return completion()
        error = {"message": "The model does not exist", "code": "model_not_found"}
        return Reply(status=404, headers={"content-type": "application/json"}, body={"error": error})

    async with (
        Upstream(script) as upstream,
        Command.up(tmp_path) as command,
        stage_over(number, sellers, command, parser) as stage,
    ):
        await command.says("Ctrl-C ends everything")
        url = {"a": {"url": f"http://127.0.0.1:{upstream.port}/v1"}}
        write_providers(tmp_path, stage, "a", "b", specs=url)
        await until_served(stage, "a", "b")
        order = {"provider": {"order": [stage.provider("a"), stage.provider("b")]}}
        assert (await stage.ask("Plain words", extra=order, model=PLAIN)).seller == "a"
        assert (await stage.ask(_OPENER, extra=order)).seller == "b"
        line = await command.says("does not know a requested model")
        assert f"  {stage.provider('a')} is Degraded (ModelNotFound): model {stage.model} is Down: it does not" in line
        assert 'model: 404 "The model does not exist" (seen by requests); ' in line
        assert (await stage.ask("More plain words", extra=order, model=PLAIN)).seller == "a"


async def test_timeouts_that_are_too_short_are_reported_with_the_vendors_default(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    async with (
        Upstream(lambda _: Reply(delay_s=30.0)) as upstream,
        Command.up(tmp_path) as command,
        stage_over(number, sellers, command, parser) as stage,
    ):
        await command.says("Ctrl-C ends everything")
        spec = {"url": f"http://127.0.0.1:{upstream.port}/v1", "timeouts": {"firstByte": "1s"}}
        write_providers(tmp_path, stage, "a", specs={"a": spec})
        await until_served(stage, "a")
        for turn in range(3):
            with pytest.raises(openai.APIStatusError):
                await stage.ask(f"Slowly, {turn}", stream=True)
        line = await command.says("TimeoutTooShort")
        assert "timeouts.firstByte is 1s, and for DeepSeek 10m by default; remove it, or allow more time" in line
