"""The folder of a local gateway goes with it, at the latest when the next one starts."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from limpet_operator.laptop.listen import CannotStart
from limpet_operator.laptop.run_dir import RunDir

_LONGEST_PARENT = 74 if sys.platform == "linux" else 70

_KILLED = """
import os, signal, sys
from pathlib import Path
from limpet_operator.laptop.run_dir import RunDir
print(RunDir(Path(sys.argv[1])).path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def short_path() -> Iterator[Path]:
    """An empty directory; pytest's own may be too deep for sockets."""
    with TemporaryDirectory(dir="/tmp") as path:
        yield Path(path)


def test_a_folder_is_for_its_user_alone_and_goes_with_its_gateway(short_path: Path) -> None:
    made = RunDir(short_path)
    assert made.path.stat().st_mode & 0o777 == 0o700
    (made.path / "x").touch()
    made.cleanup()
    assert not made.path.exists()


def test_what_a_killed_gateway_left_is_swept_and_nothing_else(short_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-c", _KILLED, str(short_path)], capture_output=True, text=True, check=False
    )
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    somebody_elses = short_path / "limpet-of-another-program"
    somebody_elses.mkdir()
    (somebody_elses / "lock").touch()
    linked = short_path / "limpet-linked"
    (short_path / "home").mkdir()
    (short_path / "home" / "limpet.lock").touch()
    linked.symlink_to(short_path / "home")
    running = RunDir(short_path)
    assert not left.exists()
    another = RunDir(short_path)
    assert running.path.exists()
    assert (somebody_elses / "lock").exists()
    assert (short_path / "home" / "limpet.lock").exists()
    for each in (running, another):
        each.cleanup()


def test_gateways_that_start_at_the_same_time_leave_each_other_their_folders(short_path: Path) -> None:
    with ThreadPoolExecutor(8) as starting:
        made = list(starting.map(RunDir, [short_path] * 100))
    assert all((each.path / "limpet.lock").exists() for each in made)
    for each in made:
        each.cleanup()


def _parent(short_path: Path, length: int) -> Path:
    parent = short_path / ("x" * (length - len(str(short_path)) - 1))
    parent.mkdir()
    return parent


def test_a_parent_is_taken_as_long_as_sockets_fit_in_it(short_path: Path) -> None:
    made = RunDir(_parent(short_path, _LONGEST_PARENT))
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(made.path / "translate-0.sock"))
    made.cleanup()


def test_a_longer_parent_is_refused_with_what_to_do(short_path: Path) -> None:
    parent = _parent(short_path, _LONGEST_PARENT + 1)
    with pytest.raises(CannotStart, match=f"{parent} has too long a path .* set TMPDIR to a shorter one"):
        RunDir(parent)
    assert not list(parent.iterdir())
