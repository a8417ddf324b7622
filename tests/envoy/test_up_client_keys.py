"""`limpet up` with a file of clients' keys: who is served is said, and a change of the file is a change of the keys."""

from pathlib import Path

import aiohttp
import pytest
from tests.envoy.command import Command
from tests.waiting import until

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

OLD, NEW = "lpk-old-0123456789abcdef", "lpk-new-0123456789abcdef"


async def _status(command: Command, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"}
    async with aiohttp.ClientSession() as http, http.get(f"{command.base_url}/models", headers=headers) as response:
        return response.status


async def test_a_file_of_keys_is_followed(tmp_path: Path) -> None:
    directory, keys = tmp_path / "providers", tmp_path / "keys.yaml"
    directory.mkdir()
    keys.write_text(f"laptop: {OLD}\nbad: short\n")
    async with Command.up(directory, "--client-keys", str(keys)) as command:
        await command.says("1 client has a key; no others are served.")
        assert "bad: has a key of 5 characters" in await command.says("BAD")

        async def served() -> bool:
            return await _status(command, OLD) == 200

        await until(served, "the first key to be known")
        assert await _status(command, NEW) == 401
        keys.write_text(f"laptop: {NEW}\n")

        async def replaced() -> bool:
            return await _status(command, NEW) == 200 and await _status(command, OLD) == 401

        await until(replaced, "the key to be replaced")
        assert "lpk-" not in command.output.replace("lpk-…", "")


async def test_without_a_worker_it_says_that_nobody_is_served(tmp_path: Path) -> None:
    directory, keys = tmp_path / "providers", tmp_path / "keys.yaml"
    directory.mkdir()
    keys.write_text(f"laptop: {OLD}\n")
    async with Command.up(directory, "--client-keys", str(keys)) as command:
        await command.says("Ctrl-C ends everything")
        command.child("limpet_extproc").kill()
        assert "nobody is served" in await command.says("ext_proc is started again")
        assert "fixed order" not in command.output
