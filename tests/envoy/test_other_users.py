"""What another user of the machine can reach of a running gateway: the client port, and nothing else."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from tests.envoy.command import Command

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_NOBODY = 65534
_CONNECT_AS_NOBODY = """
import os, socket, sys
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
for path in sys.argv[2:]:
    try:
        socket.socket(socket.AF_UNIX).connect(path.replace("@", "\\0", 1))
    except PermissionError:
        continue
    except OSError:
        pass  # a datagram socket, say: that its kind is known is more than permissions would tell
    print(path)
"""


def _processes(command: Command) -> list[psutil.Process]:
    return [psutil.Process(command.process.pid), *command.children()]


def _unix_sockets(command: Command) -> Iterator[str]:
    for process in _processes(command):
        for connection in process.net_connections("unix"):
            if connection.laddr:
                yield str(connection.laddr)


def _run_dir(command: Command) -> Path:
    return next(Path(path).parent for path in _unix_sockets(command) if path.endswith("/operator.sock"))


def _maps(process: psutil.Process) -> str:
    return Path(f"/proc/{process.pid}/maps").read_text()


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _reached_as_nobody(*sockets: str) -> list[str]:
    program = [sys.executable, "-c", _CONNECT_AS_NOBODY, str(_NOBODY), *sockets]
    return subprocess.run(program, check=True, capture_output=True, text=True).stdout.split()


async def test_no_socket_of_a_gateway_is_without_permissions(tmp_path: Path) -> None:
    async with Command.up(tmp_path) as command:
        await command.says("Ctrl-C ends everything")
        paths = set(_unix_sockets(command))
        abstract = {path for path in paths if not path.startswith("/")}
        assert not abstract, "an abstract socket is open to every user"
        run_dir = _run_dir(command)
        assert {Path(path).parent for path in paths} == {run_dir}
        assert {"operator.sock", "extproc-0.sock", "probe.sock", "admin.sock"} <= {Path(path).name for path in paths}
        assert _mode(run_dir) == 0o700


def _can_become_nobody() -> bool:
    """Root outside of a user namespace can; in one of its own it is the only user there is."""
    users = Path("/proc/self/uid_map").read_text().split()
    return os.geteuid() == 0 and int(users[2]) > _NOBODY


@pytest.mark.skipif(not _can_become_nobody(), reason="only the real root can become another user")
async def test_another_user_can_connect_to_no_unix_socket_of_ours(tmp_path: Path) -> None:
    async with Command.up(tmp_path) as command:
        await command.says("Ctrl-C ends everything")
        paths = sorted(set(_unix_sockets(command)))
        assert len(paths) >= 3
        with socket.socket(socket.AF_UNIX) as open_to_all:
            name = f"@limpet-test-{os.getpid()}"
            open_to_all.bind(name.replace("@", "\0"))
            open_to_all.listen()
            assert _reached_as_nobody(name, *paths) == [name]


async def test_a_gateway_shares_no_memory_that_stays_behind(tmp_path: Path) -> None:
    async with Command.up(tmp_path) as command:
        await command.says("Ctrl-C ends everything")
        assert not [process.name() for process in _processes(command) if "/dev/shm/" in _maps(process)]
