"""`limpet bench … --json FILE`: a place that can't be written to is refused before a run of minutes, not after it."""

import pytest
from typer.testing import CliRunner

from limpet_lab.bench.command import bench

COMMANDS = sorted(each.callback.__name__.replace("_", "-") for each in bench.registered_commands if each.callback)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_directory_that_is_not_there_is_named_at_once(command: str) -> None:
    result = CliRunner().invoke(
        bench, [command, "--json", "no/such/place.json"], env={"COLUMNS": "200", "TERM": "dumb"}
    )
    assert (result.exit_code, "the directory no/such does not exist" in result.stderr) == (2, True), result.stderr
