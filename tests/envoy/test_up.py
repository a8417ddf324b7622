"""`limpet up` from its first line to its last: what it says, what it takes along when it ends, and what stops it."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.envoy.cast import LONG, say
from tests.envoy.command import Command, two_free_ports
from tests.envoy.up import stage_over, until_served, write_providers
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Up and away")]


async def _nobody(pids: list[int], port: int) -> None:
    async def gone() -> bool:
        return not any(psutil.pid_exists(pid) for pid in pids)

    await until(gone, "all children to end")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))


def _accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("routing", ["Metadata", "Header"])
async def test_it_greets_routes_shows_decisions_and_leaves_nothing_behind(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser, routing: str
) -> None:
    async with Command.up(tmp_path, "--verbose", f"--routing={routing}") as command:
        async with stage_over(number, sellers, command, parser) as stage:
            write_providers(tmp_path, stage, "a", "b", "c")
            await command.says("Ctrl-C ends everything")
            assert f"export OPENAI_BASE_URL={command.base_url}" in command.output
            await until_served(stage, "a", "b", "c")
            first = await stage.ask(_OPENER)
            await stage.settle()
            second = await stage.ask(_OPENER, stream=True)
            assert (second.seller, second.decision) == (first.seller, "sticky.hit")
            line = await command.says("sticky.hit")
            assert stage.provider(first.seller) in line
            assert stage.model in line
            assert " 200 " in line
            assert "tokens cached" in line
            assert sum("first.scored" in line for line in command.lines) == 1
        assert not any(secret in command.output for secret in ("key-of-", stage.key, "Up and away", "The tide"))
        pids = [child.pid for child in command.children()]
        assert len(pids) == 2
        assert await command.stop() == 0
        assert "Traceback" not in command.output
        await _nobody(pids, command.port)


async def test_a_terminated_command_ends_in_good_order_too(tmp_path: Path) -> None:
    async with Command.up(tmp_path) as command:
        await command.says("Ctrl-C ends everything")
        pids = [child.pid for child in command.children()]
        command.process.terminate()
        assert await command.ended() == 0
        await _nobody(pids, command.port)


async def test_a_killed_command_takes_its_children_along(tmp_path: Path) -> None:
    async with Command.up(tmp_path) as command:
        await command.says("Ctrl-C ends everything")
        pids = [child.pid for child in command.children()]
        command.process.kill()
        await command.ended()
        await _nobody(pids, command.port)


async def test_an_envoy_that_dies_ends_it_with_a_message(tmp_path: Path) -> None:
    async with Command.up(tmp_path) as command:
        await command.says("Ctrl-C ends everything")
        pids = [each.pid for each in command.children()]
        os.kill(command.child("envoy.json").pid, signal.SIGKILL)
        assert await command.ended() == 1
        assert "envoy ended with status -9" in command.output
        assert "Traceback" not in command.output
        await _nobody(pids, command.port)


@pytest.mark.parametrize("server", ["own", "grpcio"])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP], ids=["dies", "hangs"])
async def test_ext_proc_is_replaced_and_every_request_is_answered(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser, how: signal.Signals, server: str
) -> None:
    up = Command.up(tmp_path, f"--extproc-server={server}")
    async with up as command, stage_over(number, sellers, command, parser) as stage:
        write_providers(tmp_path, stage, "a")
        await command.says("Ctrl-C ends everything")

        async def decided() -> bool:
            return (await stage.ask(_OPENER)).decision not in ("fallback.undecided", "refused.no_provider")

        await until_served(stage, "a")
        await until(decided, "a decision")
        worker = command.child("limpet_extproc")
        assert f"--server={server}" in worker.cmdline()
        worker.send_signal(how)
        slow = []
        for _ in range(30):
            began_s = time.monotonic()
            assert (await stage.ask(_OPENER)).text
            slow.append(time.monotonic() - began_s > 1.0)
        assert sum(slow) <= 1, "one that hangs was asked again and again"
        assert "providers are tried in a fixed order" in await command.says("ext_proc is started again")
        await until(decided, "a decision by another worker")
        assert not worker.is_running()
        assert await command.stop() == 0


async def test_a_taken_port_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port: int = taken.getsockname()[1]
        async with Command.up(tmp_path, port=port) as command:
            assert await command.ended() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in command.output
    assert "--listen" in command.output
    assert "Traceback" not in command.output


async def test_it_goes_on_serving_when_its_output_is_no_longer_read(tmp_path: Path) -> None:
    port = free_port()
    command = [
        *(str(Path(sys.executable).with_name("limpet")), "up", str(tmp_path)),
        *(f"--listen=127.0.0.1:{port}", "--no-activity"),
    ]
    with subprocess.Popen(  # noqa: ASYNC220
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        try:
            await until(lambda: process.poll() is not None or _accepts(port), "it to serve or to end")
        finally:
            process.send_signal(signal.SIGINT)
        assert process.stderr is not None
        assert process.stderr.read() == ""
    assert process.returncode == 0


async def test_of_two_that_start_at_the_same_time_one_has_the_port(tmp_path: Path) -> None:
    port = free_port()
    async with Command.up(tmp_path, port=port) as one, Command.up(tmp_path, port=port) as other:

        async def one_ended() -> bool:
            return one.process.returncode is not None or other.process.returncode is not None

        await until(one_ended, "one of them to end")
        winner, loser = (one, other) if one.process.returncode is None else (other, one)
        await winner.says("Ctrl-C ends everything")
        assert await loser.ended() == 1
        assert f"limpet up: cannot listen on 127.0.0.1:{port}: Address already in use" in loser.output
        assert "Traceback" not in loser.output
        assert await winner.stop() == 0


@pytest.mark.parametrize("which", [0, 1], ids=["of the control plane", "of the data plane"])
async def test_a_taken_metrics_port_is_named_like_any_other(tmp_path: Path, which: int) -> None:
    first = two_free_ports()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + which))
        taken.listen()
        async with Command.up(tmp_path, metrics_port=first) as command:
            assert await command.ended() == 1
    assert f"cannot listen on 127.0.0.1:{first + which}" in command.output
    assert "--metrics-port" in command.output
    assert len(command.lines) == 1


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    async with Command.up(tmp_path / "nowhere") as command:
        assert await command.ended() == 1
    assert "nowhere" in command.output
    assert "Traceback" not in command.output


@pytest.mark.parametrize(
    ("flag", "says"),
    [("--body-limit-mib=0", "--body-limit-mib"), ("--listen=10000", "HOST:PORT"), ("--routing=Luck", "Luck")],
)
async def test_a_flag_that_cannot_be_is_explained(tmp_path: Path, flag: str, says: str) -> None:
    async with Command.up(tmp_path, flag) as command:
        assert await command.ended() == 2
    assert says in " ".join(command.output.split())
    assert "Traceback" not in command.output


async def test_a_key_missing_in_the_environment_is_named_and_the_others_run(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    async with Command.up(tmp_path) as command, stage_over(number, sellers, command, parser) as stage:
        write_providers(tmp_path, stage, "a", specs={"a": {"credential": {"env": "LIMPET_TEST_NO_SUCH_KEY"}}})
        write_providers(tmp_path, stage, "b")
        await command.says("environment variable LIMPET_TEST_NO_SUCH_KEY is not set")
        await command.says("Ctrl-C ends everything")
        await until_served(stage, "b")
        assert (await stage.ask(_OPENER)).seller == "b"


async def test_a_key_in_the_environment_is_used(tmp_path: Path, number: int, sellers: Sellers, parser: Parser) -> None:
    async with (
        Command.up(tmp_path, env={"LIMPET_TEST_KEY": "key-of-a"}) as command,
        stage_over(number, sellers, command, parser) as stage,
    ):
        write_providers(tmp_path, stage, "a", specs={"a": {"credential": {"env": "LIMPET_TEST_KEY"}}})
        await command.says("Ctrl-C ends everything")
        await until_served(stage, "a")
        assert (await stage.ask(_OPENER)).text


async def test_what_is_refused_has_a_line_with_a_time(
    tmp_path: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    async with Command.up(tmp_path, "--verbose") as command, stage_over(number, sellers, command, parser) as stage:
        write_providers(tmp_path, stage, "a")
        await command.says("Ctrl-C ends everything")
        for body in (b'{"model": "nobody", "messages": [{"role": "user", "content": "Up and away"}]}', b"no JSON"):
            assert (await stage.post(body)).status in (400, 404)
        for model, word in ((" nobody", "refused.unknown_model (model)"), ("", "refused.bad_request")):
            line = await command.says(word)
            assert re.match(rf"\d\d:\d\d:\d\d  POST /v1/chat/completions{model}  refused\.", line)
            assert "unreported" not in line
        assert "Up and away" not in command.output
