"""Pods of the test world: each a network namespace with its own address, in which processes are started."""

import shlex
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from itertools import count
from pathlib import Path

from tests.cluster.world import ADDRESS, BRIDGE, PREFIX

_FIRST = IPv4Address("10.222.1.1")


@dataclass(frozen=True, slots=True)
class Mount:
    """A file or folder of the test (`source`) that a container finds at `target`, an absolute path."""

    target: str
    source: Path
    read_only: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """A network namespace named `name`, joined to the world at `ip`. Containers of one pod share its loopback."""

    name: str
    ip: str
    link: str

    def command(self, argv: Sequence[str], mounts: Iterable[Mount] = ()) -> list[str]:
        """What to start for `argv` to run in the pod, as that very process, with mounts that no other process sees.

        A mount point that doesn't exist is made; that works under /etc, /run, /var/run and the test's own folders.
        """
        ordered = sorted(mounts, key=lambda mount: mount.target)
        for mount in ordered:
            _make_mount_point(mount)
        script = " && ".join([*(line for mount in ordered for line in _mounting(mount)), 'exec "$@"'])
        network = ["nsenter", f"--net=/run/netns/{self.name}", "--"]
        return [*network, "unshare", "--mount", "--", "sh", "-c", script, "sh", *argv]

    def unplug(self) -> None:
        """Cut the pod off from all others; packets are lost silently."""
        _ip("link", "set", self.link, "down")

    def plug(self) -> None:
        """Join it again."""
        _ip("link", "set", self.link, "up")


@dataclass(slots=True)
class Network:
    """Hands out pods on the world's bridge; two never get the same address."""

    _numbers: Iterator[int] = field(default_factory=lambda: count(0))

    @contextmanager
    def pod(self, name: str) -> Iterator[Pod]:
        """A pod until the end of the block; end its processes first. `name` must be new."""
        number = next(self._numbers)
        pod = Pod(name, str(_FIRST + number), f"pod{number}")
        _ip("netns", "add", name)
        try:
            _ip("link", "add", pod.link, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", pod.link, "master", BRIDGE, "up")
            within = ("-n", name)
            _ip(*within, "link", "set", "lo", "up")
            _ip(*within, "address", "add", f"{pod.ip}/{PREFIX}", "dev", "eth0")
            _ip(*within, "link", "set", "eth0", "up")
            _ip(*within, "route", "add", "default", "via", ADDRESS)
            yield pod
        finally:
            _ip("netns", "delete", name)
            # The namespace lives on while a process is in it; its cable must not.
            subprocess.run(["ip", "link", "delete", pod.link], capture_output=True, check=False)


def _ip(*words: str) -> None:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise OSError(f"{shlex.join(['ip', *words])}: {done.stderr.strip()}")


def _make_mount_point(mount: Mount) -> None:
    target = Path(mount.target)
    if target.exists():
        return
    try:
        if mount.source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
    except OSError as error:
        raise OSError(f"{target}: no mount point can be made there ({error}); take one under /etc or /run") from error


def _mounting(mount: Mount) -> list[str]:
    target = shlex.quote(mount.target)
    lines = [f"mount --no-mtab --bind {shlex.quote(str(mount.source))} {target}"]
    if mount.read_only:
        lines.append(f"mount --no-mtab -o remount,bind,ro {target}")
    return lines
