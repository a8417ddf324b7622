"""The folder of a local gateway goes with it, at the latest when the next one starts."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from limpet_operator.laptop.run_dir import RunDir

_KILLED = """
import os, signal, sys
from pathlib import Path
from limpet_operator.laptop.run_dir import RunDir
print(RunDir(Path(sys.argv[1])).path, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_folder_is_for_its_user_alone_and_goes_with_its_gateway(tmp_path: Path) -> None:
    made = RunDir(tmp_path)
    assert made.path.stat().st_mode & 0o777 == 0o700
    (made.path / "x").touch()
    made.cleanup()
    assert not made.path.exists()


def test_what_a_killed_gateway_left_is_swept_and_nothing_else(tmp_path: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", _KILLED, str(tmp_path)], capture_output=True, text=True, check=False)
    left = Path(killed.stdout.strip())
    assert left.is_dir()
    somebody_elses = tmp_path / "limpet-of-another-program"
    somebody_elses.mkdir()
    (somebody_elses / "lock").touch()
    linked = tmp_path / "limpet-linked"
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "limpet.lock").touch()
    linked.symlink_to(tmp_path / "home")
    running = RunDir(tmp_path)
    assert not left.exists()
    another = RunDir(tmp_path)
    assert running.path.exists()
    assert (somebody_elses / "lock").exists()
    assert (tmp_path / "home" / "limpet.lock").exists()
    for each in (running, another):
        each.cleanup()


def test_gateways_that_start_at_the_same_time_leave_each_other_their_folders(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as starting:
        made = list(starting.map(RunDir, [tmp_path] * 100))
    assert all((each.path / "limpet.lock").exists() for each in made)
    for each in made:
        each.cleanup()
