"""`limpet up` keeps what every request did, shows it, and goes on without that when it has to."""

import asyncio
import json
import re
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from sqlalchemy import make_url
from tests.envoy.cast import LONG, say
from tests.envoy.command import Command
from tests.envoy.stage import Stage
from tests.envoy.up import stage_over, until_served, write_providers
from tests.waiting import until

from limpet_activity.store.port import ActivityFilter
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.state_folder import ACTIVITY_FILE, PAGE_TOKEN_FILE
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.machine import free_port
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OPENER = [say(LONG, "system"), say("Keep this in mind")]
_LINK = re.compile(r"(http://127\.0\.0\.1:\d+)/\?token=(\S+)")


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def providers(tmp_path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=tmp_path) as directory:
        yield Path(directory)


class Reader:
    """Asks the page of a `limpet up` for its JSON, by the token in the link that was printed."""

    def __init__(self, http: aiohttp.ClientSession, link: str) -> None:
        found = _LINK.search(link)
        assert found is not None, link
        self._http = http
        self.origin, self.token = found.groups()

    async def get(self, path: str, token: str | None = None) -> tuple[int, Any]:
        """0 while nobody listens there."""
        headers = {"authorization": f"Bearer {self.token if token is None else token}"}
        try:
            async with self._http.get(self.origin + path, headers=headers) as answer:
                return answer.status, await answer.json()
        except (aiohttp.ClientError, OSError):
            return 0, None

    async def served(self) -> list[Any]:
        """The newest records of requests that a provider answered."""
        status, body = await self.get("/api/activity?limit=50")
        return [each for each in body["records"] if each["provider"]] if status == 200 else []


async def test_a_request_is_in_the_page_a_moment_later_and_after_a_restart_still(
    providers: Path, state: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    port, env = free_port(), {"XDG_STATE_HOME": str(state)}
    async with (
        Command.up(providers, f"--activity-port={port}", env=env, activity=True) as command,
        stage_over(number, sellers, command, parser) as stage,
    ):
        write_providers(providers, stage, "a", "b")
        reader = Reader(stage.http, await command.says("What every request did and cost"))
        assert reader.origin == f"http://127.0.0.1:{port}"
        await until_served(stage, "a", "b")
        first = await stage.ask(_OPENER)

        async def shown() -> bool:
            return len(await reader.served()) == 1

        await until(shown, "the request in the page")
        (row,) = await reader.served()
        assert (row["provider"], row["reason"], row["status"]) == (stage.provider(first.seller), "first.scored", 200)
        assert (await reader.get("/api/activity", token="guessed"))[0] == 401
        _, providers_told = await reader.get("/api/providers")
        assert stage.provider("a") in json.dumps(providers_told)
        _are_private(state / "limpet")
        run_dir = Path(command.child("envoy.json").cmdline()[2]).parent
        _are_private(run_dir)
        assert "activity service is away" not in (run_dir / "ext_proc.log").read_text(), "it was starting"
        assert await command.stop() == 0
        assert "Traceback" not in command.output
    async with Command.up(providers, f"--activity-port={port}", env=env, activity=True) as again:
        assert reader.token in await again.says("What every request did and cost"), "bookmarks go on working"
        async with aiohttp.ClientSession() as http:
            later = Reader(http, await again.says("What every request did and cost"))

            async def kept() -> bool:
                return row["id"] in [each["id"] for each in await later.served()]

            await until(kept, "the request in the page after a restart")


def _are_private(folder: Path) -> None:
    """No other user reaches what is in it."""
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder
    for file in folder.iterdir():
        if file.name.startswith((ACTIVITY_FILE, PAGE_TOKEN_FILE)):
            assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


async def test_a_service_that_is_killed_under_load_loses_and_doubles_nothing(
    providers: Path, state: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    async with (
        Command.up(providers, env={"XDG_STATE_HOME": str(state)}, activity=True) as command,
        stage_over(number, sellers, command, parser) as stage,
    ):
        write_providers(providers, stage, "a")
        reader = Reader(stage.http, await command.says("What every request did and cost"))
        await until_served(stage, "a")

        async def up() -> bool:
            return (await reader.get("/api/state"))[0] == 200

        await until(up, "the service")
        statuses: list[int] = []
        for second in range(6):
            if second == 2:
                command.child("limpet_activity").send_signal(signal.SIGKILL)
            statuses += await asyncio.gather(*(_later(stage, at / 100) for at in range(100)))
        assert statuses == [200] * 600
        assert "activity is started again" in await command.says("activity is started again")
        store = SqlStore(make_url(f"sqlite:///{state / 'limpet' / ACTIVITY_FILE}"))

        def kept() -> list[str]:
            return [each.id for each in store.page(ActivityFilter(), None, 5000).records if each.provider]

        try:
            await until(lambda: len(kept()) >= 600, "600 records")
            assert await command.stop() == 0
            assert len(kept()) == len(set(kept())) == 600
        finally:
            store.close()


async def _later(stage: Stage, seconds: float) -> int:
    await asyncio.sleep(seconds)
    return (await stage.post({"model": stage.model, "messages": [say("Hello")]})).status


async def test_a_second_one_takes_the_next_port_and_writes_beside_the_first(
    providers: Path, state: Path, number: int, sellers: Sellers, parser: Parser
) -> None:
    env = {"XDG_STATE_HOME": str(state)}
    async with (
        Command.up(providers, env=env, activity=True) as one,
        stage_over(number, sellers, one, parser) as stage,
    ):
        write_providers(providers, stage, "a")
        first = Reader(stage.http, await one.says("What every request did and cost"))
        await until_served(stage, "a")

        async def up() -> bool:
            return (await first.get("/api/state"))[0] == 200

        await until(up, "the first page")
        async with (
            Command.up(providers, env=env, activity=True) as two,
            stage_over(number, sellers, two, parser) as beside,
        ):
            second = Reader(beside.http, await two.says("What every request did and cost"))
            assert second.origin != first.origin
            await until_served(beside, "a")
            await asyncio.gather(*(each.ask("Hello") for each in (stage, beside) for _ in range(10)))

            async def all_of_both() -> bool:
                return [len(await each.served()) for each in (first, second)] == [20, 20]

            await until(all_of_both, "the requests of both in both pages")
            for command in (one, two):
                _, theirs = await first.get(f"/api/activity?gateway=limpet-local-{command.port}&limit=500")
                assert len([each for each in theirs["records"] if each["provider"]]) == 10
            assert not any("started again" in line for line in (*one.lines, *two.lines))


async def test_without_activity_nothing_of_it_is_started_or_kept(providers: Path, state: Path) -> None:
    async with Command.up(providers, env={"XDG_STATE_HOME": str(state)}) as command:
        await command.says("Ctrl-C ends everything")
        assert "What every request" not in command.output
        assert len(command.children()) == 2
    assert not (state / "limpet" / ACTIVITY_FILE).exists()


async def test_a_taken_port_of_the_page_is_named_with_what_to_do(providers: Path, state: Path) -> None:
    port = free_port()
    server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", port)
    async with (
        server,
        Command.up(providers, f"--activity-port={port}", env={"XDG_STATE_HOME": str(state)}, activity=True) as command,
    ):
        assert await command.ended() == 1
    assert f"cannot listen on 127.0.0.1:{port}" in command.output
    assert "--activity-port" in command.output
