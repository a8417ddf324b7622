"""`limpet explain` as a person runs it: over files and of a running gateway the same, and kind where it can't."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import typer
import yaml
from tests.envoy.cast import LONG, TIDE, say
from tests.envoy.guarded import LAPTOP, ROBOT, guarded
from tests.envoy.stage import Stage
from typer.testing import CliRunner, Result

from limpet_extproc.contract.explanation import Explanation, decode
from limpet_lab.explain.command import explain
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_DEAR: Final = {"b": {"input": "9", "cacheRead": "0.9", "output": "9"}}
_EVERY_API: Final = {"dialects": ["OpenAIChat", "OpenAIResponses", "AnthropicMessages"]}
_SPECS: Final = dict.fromkeys("ab", _EVERY_API)
_TALK: Final = [say(LONG, "system"), say(TIDE)]

Asked = Callable[[object], str]


@pytest.fixture
def asked(tmp_path: Path) -> Asked:
    """Writes a body to a file."""

    def written(body: object) -> str:
        file = tmp_path / "request.json"
        file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        return str(file)

    return written


async def run(*arguments: str) -> Result:
    """The command; the gateway that it asks is served by this process meanwhile."""
    app = typer.Typer()
    app.command()(explain)
    env = {"COLUMNS": "200", "TERM": "dumb", "OPENAI_API_KEY": ""}
    return await asyncio.to_thread(CliRunner().invoke, app, arguments, env=env)


def comparable(result: Result) -> Explanation:
    """All but the time, and the names that depend on the installation's own secret."""
    assert result.exit_code == 0, result.output
    told = decode(result.stdout)
    assert told.identity is not None
    identity = msgspec.structs.replace(told.identity, key="", tenant="")
    return msgspec.structs.replace(told, at_s=0.0, identity=identity)


def body(model: str, path: str, fields: dict[str, Any]) -> dict[str, Any]:
    match path:
        case "/v1/responses":
            return {"model": model, "input": LONG, **fields}
        case "/v1/messages":
            return {"model": model, "system": LONG, "messages": [say(TIDE)], "max_tokens": 50, **fields}
    return {"model": model, "messages": _TALK, **fields}


@pytest.mark.parametrize(
    ("path", "headers", "fields"),
    [
        ("/v1/chat/completions", [], {}),
        ("/v1/chat/completions", ["x-session-id: mine", "x-custom: 1"], {"max_tokens": 90}),
        ("/v1/chat/completions", [], {"provider": {"sort": "price"}, "session_id": "mine"}),
        ("/v1/chat/completions", [], {"provider": {"ignore": ["a"]}}),
        ("/v1/messages", ["anthropic-version: 2023-06-01", "x-claude-code-session-id: mine"], {}),
        ("/v1/messages", [], {"metadata": {"user_id": "me"}}),
        ("/v1/responses", [], {"max_output_tokens": 90}),
        ("/v1/responses", ["x-session-affinity: mine"], {"store": False}),
    ],
)
async def test_files_and_a_running_gateway_that_knows_no_more_say_the_same(
    stage: Stage, tmp_path: Path, asked: Asked, path: str, headers: list[str], fields: dict[str, Any]
) -> None:
    await stage.serve("a", "b", specs=_SPECS, prices=_DEAR)
    files = tmp_path / "providers.yaml"
    files.write_text(yaml.safe_dump_all(stage.objects(["a", "b"], _SPECS, _DEAR)))
    if "ignore" in json.dumps(fields):
        fields = {"provider": {"ignore": [stage.provider("a")]}}
    flags = [f"--path={path}", "--json", f"--key={stage.key}", *(f"--header={each}" for each in headers)]
    request = asked(body(stage.model, path, fields))
    planned = comparable(await run(request, f"--providers={files}", *flags))
    running = comparable(await run(request, f"--gateway={stage.base_url}", *flags))
    assert planned == running
    assert planned.order
    for each in planned.candidates:
        parts = each.uncached_usd + each.read_usd + each.write_usd + each.output_usd
        assert each.request_usd == pytest.approx(parts, abs=1e-9)
    assert [await stage.arrivals(each) for each in "ab"] == [[], []]


async def test_a_remembered_answers_length_is_what_every_dollar_counts(stage: Stage, asked: Asked) -> None:
    await stage.serve("a", "b")
    for _ in range(2):
        answer = await stage.ask(_TALK)
        await stage.settle()
    flags = (f"--gateway={stage.origin}", f"--key={stage.key}")
    request = asked(body(stage.model, "/v1/chat/completions", {}))
    told = comparable(await run(request, *flags, "--json"))
    expected = answer.usage.completion_tokens
    assert expected != 400
    assert told.prompt is not None
    assert told.outlook is not None
    assert told.prompt.output_tokens == told.outlook.output_tokens == expected
    assert told.candidates[0].output_usd == pytest.approx(expected * 0.6e-6)
    assert f"an answer of {expected} is expected" in (await run(request, *flags)).output


async def test_who_may_not_ask_is_told_what_to_do(
    number: int, sellers: Sellers, parser: Parser, asked: Asked, tmp_path: Path
) -> None:
    async with guarded(number, sellers, parser, "Required") as story:
        await story.serve("a", laptop=f"{{key: {LAPTOP}, debug: true}}", robot=ROBOT)
        await story.until_status(LAPTOP, 200)
        before = await story.reached()
        gateway, request = f"--gateway={story.stage.origin}", asked(body(story.stage.model, "", {}))
        served = await run(request, gateway, f"--key={LAPTOP}")
        assert (served.exit_code, "It would go to" in served.output) == (0, True)
        unknown = await run(asked({"model": "flesh", "messages": _TALK}), gateway, f"--key={LAPTOP}")
        assert "It would be refused: 404 refused.unknown_model" in unknown.output
        for flags, says in (
            ([], "Give the client's key with --key"),
            (["--key=lpk-of-nobody-0123456789abcdef"], "Give the client's key with --key"),
            ([f"--key={ROBOT}"], "403, refused.debug): x-limpet-debug is not for this client"),
            (["--path=/nowhere", f"--key={LAPTOP}"], "/nowhere"),
        ):
            refused = await run(request, gateway, *flags)
            assert refused.exit_code == 1, refused.output
            assert says in refused.output
            assert "Traceback" not in refused.output
            assert "lpk-" not in refused.output
        assert await story.reached() == before
