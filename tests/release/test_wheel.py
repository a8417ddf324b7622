"""The wheel alone, in an environment of its own that pip makes from the package index: validate, up and the demo."""

import os
import signal
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.waiting import eventually

from limpet_operator.laptop.machine import free_port

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.slow

ENVIRONMENT = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel and its extra `lab`, and nothing of this tree on its path."""
    folder = tmp_path_factory.mktemp("wheel")
    building = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([sys.executable, *building, str(ROOT)], check=True, timeout=60)
    (wheel,) = folder.glob("limpet-*.whl")
    venv.create(folder / "venv")
    environment = ["--python", str(folder / "venv" / "bin" / "python"), "--disable-pip-version-check"]
    install = [*environment, "install", "--quiet", "--no-compile"]
    # The tested versions: what the index has gained since is not what this is about.
    pinned = ["--constraint", str(constraints(folder))]
    command = [sys.executable, "-m", "pip", *install, *pinned, f"{wheel}[lab]"]
    subprocess.run(command, env=ENVIRONMENT, check=True, timeout=400)
    return folder


def constraints(folder: Path) -> Path:
    lines = (ROOT / "lab" / "requirements.lock").read_text().splitlines()
    file = folder / "constraints.txt"
    file.write_text("\n".join(line.removesuffix(" \\") for line in lines if "==" in line and not line.startswith(" ")))
    return file


def command(home: Path, *arguments: str) -> list[str]:
    return [str(home / "venv" / "bin" / "limpet"), *arguments]


@pytest.fixture
def quickstart(home: Path) -> Path:
    """The examples of the wheel itself."""
    (found,) = (home / "venv").glob("lib/python*/site-packages/limpet_lab/quickstart")
    return found


def run(home: Path, *arguments: str) -> str:
    done = subprocess.run(
        command(home, *arguments), cwd=home, env=ENVIRONMENT, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_quickstart_is_valid(home: Path, quickstart: Path) -> None:
    assert "Provider" in run(home, "validate", str(quickstart))


def test_the_demo(home: Path) -> None:
    assert "the bill was" in run(home, "demo")


@pytest.fixture
def up(home: Path, quickstart: Path) -> Iterator[str]:
    """`limpet up` of the quickstart; its address."""
    port = free_port()
    started = command(home, "up", str(quickstart), "--listen", f"127.0.0.1:{port}")
    with subprocess.Popen(started, cwd=home, env=ENVIRONMENT) as process:
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 0


def test_it_serves_the_models_of_the_quickstart(up: str) -> None:
    def served() -> bool:
        try:
            return bool(httpx.get(f"{up}/v1/models").json()["data"])
        except httpx.TransportError:
            return False

    eventually(served, "the models of the quickstart")
