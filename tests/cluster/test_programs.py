"""Go programs are built beside the tests, and who needs one waits for it."""

import fcntl
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.cluster.programs import run_beside

from limpet_lab.kubernetes.assets import CLUSTER, AssetsMissingError, find, provide_all

BUILDS_UNTIL_THE_COMMAND_IS_DONE = """
import os, sys, time
print("begun", flush=True)
while not os.path.exists(sys.argv[1]):
    time.sleep(0.01)
sys.exit(int(sys.argv[2]))
"""


def builder(done: Path, status: int) -> list[str]:
    return [sys.executable, "-c", BUILDS_UNTIL_THE_COMMAND_IS_DONE, str(done), str(status)]


@pytest.mark.parametrize(("of_command", "of_builder", "of_both"), [(0, 0, 0), (1, 0, 1), (0, 2, 2), (1, 2, 1)])
def test_the_command_runs_beside_the_build(tmp_path: Path, of_command: int, of_builder: int, of_both: int) -> None:
    done = tmp_path / "done"
    command = ["sh", "-c", f"touch {done}; exit {of_command}"]
    assert run_beside(command, builder(done, of_builder)) == of_both


def test_who_needs_a_program_waits_while_somebody_builds(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    home = CLUSTER.home(environment)
    home.parent.mkdir()
    with ThreadPoolExecutor() as threads, (home.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        found = threads.submit(find, environment)
        building = home.with_name("building-1")
        building.mkdir()
        for name in ("kube-apiserver", "etcd"):
            (building / name).touch(0o755)
        building.rename(home)
        assert found.result().etcd == home / "etcd"


def test_who_needs_a_program_that_could_not_be_built_waits_no_longer(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path)}
    lock_file = CLUSTER.home(environment).parent / "lock"
    lock_file.parent.mkdir()
    with ThreadPoolExecutor() as threads:
        with lock_file.open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            found = threads.submit(find, environment)
        with pytest.raises(AssetsMissingError, match="not built yet"):
            found.result()


def test_nothing_is_built_that_is_there(tmp_path: Path) -> None:
    environment = {"XDG_CACHE_HOME": str(tmp_path), "PATH": ""}
    CLUSTER.home(environment).mkdir(parents=True)
    begun: list[bool] = []
    provide_all((CLUSTER,), environment, lambda: begun.append(True))
    assert begun == [True]
