"""Where the `limpet` command begins."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

_LIMPET = "from limpet_operator.entry import main; main()"


def _limpet(*arguments: str, path: Path | None = None, ignoring: bool = False) -> subprocess.Popen[str]:
    """The command, with the modules of `path` in the place of those of the same name."""
    begin = f"import sys; sys.path.insert(0, {str(path)!r}); " if path is not None else ""
    if ignoring:
        begin += "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
    command = [sys.executable, "-c", begin + _LIMPET, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_is_the_command() -> None:
    process = _limpet("--version")
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    assert out.startswith("limpet ")


@pytest.mark.parametrize("ignoring", [False, True])
def test_an_interrupt_while_it_is_loaded_ends_it_without_a_traceback(tmp_path: Path, ignoring: bool) -> None:
    wait = "import sys, time\nprint('loading', flush=True)\ntime.sleep(0.5 if {} else 60)\nsys.exit('went on')\n"
    (tmp_path / "typer.py").write_text(wait.format(ignoring))
    process = _limpet("up", path=tmp_path, ignoring=ignoring)
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    expected = (1, "went on\n") if ignoring else (-signal.SIGINT, "")
    assert (process.returncode, err) == expected


@pytest.mark.parametrize("name", ["kubernetes", "aiohttp"])
def test_it_begins_without_the_packages_that_only_a_cluster_takes(tmp_path: Path, name: str) -> None:
    (tmp_path / f"{name}.py").write_text(f"raise ModuleNotFoundError('no {name}', name={name!r})\n")
    out, err = _limpet("validate", "--help", path=tmp_path).communicate(timeout=60)
    assert (out.split()[:1], err) == (["Usage:"], "")
    process = _limpet("mesh", "istio", "--from-cluster", path=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (1, "")
    assert err == (
        f"limpet: asking a cluster needs the Python package {name}, which is not installed here; "
        "'make tools' in the checkout, or pip install 'limpet[operator]', brings it\n"
    )


EXAMPLES = str(Path(__file__).parents[2] / "examples/quickstart")


@pytest.mark.parametrize(
    "arguments",
    [
        ("mesh", "istio", "--providers", EXAMPLES),
        ("render", EXAMPLES),
        ("validate", EXAMPLES),
        ("client-key", "new", "laptop"),
        ("--version",),
        ("--help",),
    ],
    ids=lambda words: words[0],
)
def test_a_disk_that_is_full_is_one_line(arguments: tuple[str, ...]) -> None:
    command = [sys.executable, "-c", _LIMPET, *arguments]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert done.stderr.splitlines()[-1] == "limpet: what it prints cannot be written: No space left on device"


def test_a_full_disk_of_a_file_is_not_told_of_what_is_printed() -> None:
    begin = "import pathlib, limpet_operator.cli as cli; "
    begin += "cli.application = lambda _: lambda: [print('before'), pathlib.Path('/dev/full').write_text('x')]; "
    command = [sys.executable, "-c", begin + "cli.main()"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout.strip()) == (1, "before")
    assert done.stderr.splitlines()[-1] == "OSError: [Errno 28] No space left on device"


def test_much_that_is_printed_onto_a_full_disk_is_one_line() -> None:
    begin = "import limpet_operator.cli as cli; cli.application = lambda _: lambda: print('x' * 1_000_000); "
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", begin + "cli.main()"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, "limpet: what it prints cannot be written: No space left on device\n")
