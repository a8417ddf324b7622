"""A world for tests that need a cluster: `python -m tests.cluster.world COMMAND…` runs the command in it.

The command gets its own namespaces for users, processes, mounts and the network: it is root there without being root
outside, may make bridges, addresses and mounts, and reaches nothing beyond. Whatever it leaves running ends with it.
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

BRIDGE: Final = "limpet0"
"""The bridge that connects the pods."""

ADDRESS: Final = "10.222.0.1"
"""The world's own address, and that of the API server, as pods see it."""

PREFIX: Final = 16
"""Bits of the network that pods live in."""

COMMAND: Final = "python -m tests.cluster.world python -m pytest tests/cluster"
"""The command that runs only these tests."""

_INSIDE: Final = "--inside"
_NAMESPACES: Final = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_AS_USER: Final = ("--user", "--map-root-user")
_FORBIDDEN: Final = """\
This kernel lets neither you nor root make namespaces, and the cluster's tests live in some of their own:
  {reason}
Allow it with one of these, then run the tests again:
  sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0   (Ubuntu 24.04 and newer)
  sudo sysctl -w kernel.unprivileged_userns_clone=1               (Debian 10 and older)
  docker run --privileged …                                       (in a container)"""


class NoWorld(Exception):  # noqa: N818 (names what happened)
    """The machine can't run the tests; the message explains what to install or allow."""


def inside() -> bool:
    """Whether this process runs in a world."""
    return any(name == BRIDGE for _, name in socket.if_nameindex())


def doorway(command: Sequence[str]) -> list[str]:
    """The command line that runs `command` in a new world. Raises NoWorld if that is impossible here."""
    for program, package in (("unshare", "util-linux"), ("setpriv", "util-linux"), ("ip", "iproute2")):
        if shutil.which(program) is None:
            raise NoWorld(f"The cluster's tests need the program {program}: install the package {package}.")
    refusals = []
    for flags in (_AS_USER, ()):
        trial = ["unshare", *flags, *_NAMESPACES, "ip", "link", "add", BRIDGE, "type", "bridge"]
        tried = subprocess.run(trial, capture_output=True, text=True, check=False)
        if tried.returncode == 0:
            # If we are killed so is unshare, by --kill-child the first process of the world, and with it all others.
            return ["setpriv", "--pdeathsig=KILL", "--", "unshare", *flags, *_NAMESPACES, "--", *command]
        refusals.append(tried.stderr.strip())
    raise NoWorld(_FORBIDDEN.format(reason="\n  ".join(refusals)))


def furnish() -> None:
    """Give a bare world its network, and its own /etc and /run, in which pods find files."""
    for line in (
        "ip link set lo up",
        f"ip link add {BRIDGE} type bridge",
        f"ip address add {ADDRESS}/{PREFIX} dev {BRIDGE}",
        f"ip link set {BRIDGE} up",
        "mount --no-mtab -t tmpfs -o mode=755 run /run",
    ):
        subprocess.run(line.split(), check=True)
    # A copy, as an unmapped owner's folder takes no new entries; what only the real root may read stays away.
    subprocess.run(["cp", "-r", "--no-dereference", "/etc", "/run/etc"], stderr=subprocess.DEVNULL, check=False)
    subprocess.run(["mount", "--no-mtab", "--bind", "/run/etc", "/etc"], check=True)
    resolver = Path("/etc/resolv.conf")
    resolver.unlink(missing_ok=True)
    resolver.write_text(f"nameserver {ADDRESS}\noptions timeout:1 attempts:1\n")


def look_after(command: Sequence[str]) -> int:
    """Run the command as the first process of a world must: collect orphans, end with it. Returns its exit status."""
    signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the command; when it has ended, so do we
    try:
        pid = os.posix_spawnp(command[0], list(command), os.environ)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr)
        return 127
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def enter(command: Sequence[str]) -> int:
    """Run the command in a new world; returns its exit status. Raises NoWorld."""
    program = [sys.executable, "-m", "tests.cluster.world", _INSIDE, *command]
    process = subprocess.Popen(doorway(program))
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, lambda *_: process.kill())  # unshare itself lets no lesser signal through
    signal.signal(signal.SIGINT, lambda *_: None)
    code = process.wait()
    return code if code >= 0 else 128 - code


def main(arguments: Sequence[str]) -> int:
    """The command line; returns the exit status."""
    match arguments:
        case [first, *command] if first == _INSIDE and command:
            furnish()
            return look_after(command)
        case [_, *_]:
            try:
                return enter(arguments)
            except NoWorld as none:
                print(none, file=sys.stderr)
                return 1
        case _:
            print(f"Write the command to run in the world, such as\n  {COMMAND}", file=sys.stderr)
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
