"""Starts one container's process: its own file system, network, process ids and capabilities, then exec.

Run as `python -I -S sandbox.py SPEC.json` inside the test world; standard library only, since it starts once a
container. The process that was started stays behind as the container's parent: it ends with the container, with its
exit status (128 + the signal, as a shell says it), and the kernel ends the container with it.

What is not enforced: users (everything runs as the world's only one), resource limits, seccomp and AppArmor profiles.
"""

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any, Final

_MS_RDONLY: Final = 1
_MS_NOSUID: Final = 2
_MS_NODEV: Final = 4
_MS_REMOUNT: Final = 32
_MS_BIND: Final = 4096
_MS_REC: Final = 16384
_MS_PRIVATE: Final = 1 << 18
_MNT_DETACH: Final = 2
_CLONE_NEWNS: Final = 0x20000
_CLONE_NEWUTS: Final = 0x4000000
_CLONE_NEWPID: Final = 0x20000000
_CLONE_NEWNET: Final = 0x40000000
_PR_SET_PDEATHSIG: Final = 1
_PR_CAPBSET_DROP: Final = 24
_PR_SET_NO_NEW_PRIVS: Final = 38
_SYS_PIVOT_ROOT: Final = {"x86_64": 155, "aarch64": 41}
_LAST_CAPABILITY: Final = Path("/proc/sys/kernel/cap_last_cap")
_DEVICES: Final = ("null", "zero", "full", "random", "urandom")

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


def _mount(source: str, target: Path | str, kind: str | None, flags: int, data: str | None = None) -> None:
    text = [each.encode() if each is not None else None for each in (source, str(target), kind, data)]
    _check(_libc.mount(text[0], text[1], text[2], ctypes.c_ulong(flags), text[3]), f"mount {source} at {target}")


def _bind(source: str, target: Path, *, read_only: bool) -> None:
    """Make a file or directory appear at another place, which is made if need be."""
    if Path(source).is_dir():
        target.mkdir(parents=True, exist_ok=True)
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.touch()
    _mount(source, target, None, _MS_BIND | _MS_REC)
    if read_only:
        # What a mount brought with it (nosuid, nodev) is locked in a user namespace and must be repeated.
        kept = os.statvfs(target).f_flag & (_MS_NOSUID | _MS_NODEV)
        _mount("none", target, None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _make_root(root: Path, spec: dict[str, Any]) -> None:
    _mount("none", "/", None, _MS_REC | _MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", _MS_NOSUID | _MS_NODEV, "mode=755")
    for place in spec["image"]:
        inside = root / place.lstrip("/")
        if Path(place).is_symlink():
            inside.symlink_to(Path(place).readlink())
        elif not inside.exists():
            _bind(place, inside, read_only=True)
    for place, text in spec["files"].items():
        file = root / place.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (root / "proc").mkdir()
    _mount("proc", root / "proc", "proc", _MS_NOSUID | _MS_NODEV)
    for name in _DEVICES:
        _bind(f"/dev/{name}", root / "dev" / name, read_only=False)
    for name, to in {"fd": "/proc/self/fd", "stdout": "/proc/self/fd/1", "stderr": "/proc/self/fd/2"}.items():
        (root / "dev" / name).symlink_to(to)
    (root / "dev/shm").mkdir()
    _mount("tmpfs", root / "dev/shm", "tmpfs", _MS_NOSUID | _MS_NODEV)
    (root / "tmp").mkdir(mode=0o1777, exist_ok=True)
    for mount in spec["mounts"]:
        _bind(mount["source"], root / mount["target"].lstrip("/"), read_only=mount["read_only"])
        for place in spec["image"]:
            # A volume at /tmp would hide a project that was checked out there.
            if Path(place).is_relative_to(mount["target"]):
                _bind(place, root / place.lstrip("/"), read_only=True)


def _enter_root(root: Path, *, read_only: bool) -> None:
    old = root / ".old"
    old.mkdir()
    number = _SYS_PIVOT_ROOT[os.uname().machine]
    _check(_libc.syscall(number, str(root).encode(), str(old).encode()), "pivot_root")
    os.chdir("/")
    _check(_libc.umount2(b"/.old", _MNT_DETACH), "umount of the old root")
    Path("/.old").rmdir()
    if read_only:
        _mount("none", "/", None, _MS_REMOUNT | _MS_BIND | _MS_RDONLY | _MS_NOSUID | _MS_NODEV)


def _drop_capabilities() -> None:
    for number in range(int(_LAST_CAPABILITY.read_text()) + 1):
        _check(_libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0), "dropping a capability")


def _contained(spec: dict[str, Any], root: Path) -> None:
    """The rest of the way, as the first process of the container; ends in exec."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    # Not together with the others: a new root would be one for the process that waits, too.
    _check(_libc.unshare(_CLONE_NEWNS), "unshare")
    _make_root(root, spec)
    _enter_root(root, read_only=spec["read_only_root"])
    if spec["drop_capabilities"]:
        _drop_capabilities()
    if spec["no_new_privileges"]:
        _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl")
    os.chdir(spec["cwd"])
    os.umask(0o022)
    argv: list[str] = spec["argv"]
    try:
        os.execvpe(argv[0], argv, spec["env"])
    except OSError as error:
        sys.stderr.write(f"cannot start {argv[0]!r}: {error.strerror} (PATH {spec['env'].get('PATH')})\n")
        os._exit(127)


def main(file: Path) -> int:
    """Start the container of this file and wait for its end."""
    spec: dict[str, Any] = json.loads(file.read_text())
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "prctl")
    # Who stops a container signals its first process, never this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    network = os.open(spec["network"], os.O_RDONLY)
    _check(_libc.setns(network, _CLONE_NEWNET), "joining the pod's network")
    os.close(network)
    _check(_libc.unshare(_CLONE_NEWUTS | _CLONE_NEWPID), "unshare")
    name = spec["hostname"].encode()
    _check(_libc.sethostname(name, len(name)), "sethostname")
    root = file.parent / "root"
    root.mkdir(exist_ok=True)
    child = os.fork()
    if not child:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        try:
            _contained(spec, root)
        except OSError as error:
            sys.stderr.write(f"cannot set up the container: {error}\n")
            sys.stderr.flush()
        os._exit(126)
    pid_file = file.parent / "pid"
    half = file.parent / "pid.new"
    half.write_text(str(child))
    half.rename(pid_file)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    return 128 - code if code < 0 else code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
