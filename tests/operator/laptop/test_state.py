"""The user's folder of what outlives `limpet up`."""

import stat
from pathlib import Path

import pytest

from limpet_extproc.contract.state_folder import KEY_FILE, LEDGER_FILE, PAGE_TOKEN_FILE, state_folder
from limpet_operator.laptop.state import prepared_state, state_flags

HOME = Path("/home/alice")


@pytest.mark.parametrize(
    ("environment", "folder"),
    [
        ({}, "/home/alice/.local/state/limpet"),
        ({"XDG_STATE_HOME": "/var/alice"}, "/var/alice/limpet"),
        ({"XDG_STATE_HOME": ""}, "/home/alice/.local/state/limpet"),
        ({"XDG_STATE_HOME": "relative"}, "/home/alice/.local/state/limpet"),  # to be ignored, says the specification
    ],
)
def test_the_folder_is_where_the_xdg_specification_puts_it(environment: dict[str, str], folder: str) -> None:
    assert state_folder(environment, HOME) == Path(folder)


def test_it_is_made_once_for_this_user_alone_and_keeps_its_secret(tmp_path: Path) -> None:
    folder = prepared_state({}, tmp_path)
    key = (folder / KEY_FILE).read_bytes()
    assert prepared_state({}, tmp_path) == folder
    assert (folder / KEY_FILE).read_bytes() == key
    assert len(key) == 32
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / KEY_FILE).stat().st_mode) == 0o600
    token = folder / PAGE_TOKEN_FILE
    assert len(token.read_text()) >= 32
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert {each.name for each in folder.iterdir()} == {KEY_FILE, PAGE_TOKEN_FILE}


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o710])
def test_a_folder_that_is_open_to_others_is_closed(tmp_path: Path, mode: int) -> None:
    found = state_folder({}, tmp_path)
    found.mkdir(parents=True)
    found.chmod(mode)
    assert stat.S_IMODE(prepared_state({}, tmp_path).stat().st_mode) == 0o700


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / ".local").write_text("a file")
    with pytest.raises(OSError, match="Not a directory"):
        prepared_state({}, tmp_path)


def test_ext_proc_is_told_where_both_are() -> None:
    assert state_flags(HOME) == (f"--ledger-file={HOME / LEDGER_FILE}", f"--memory-key-file={HOME / KEY_FILE}")
