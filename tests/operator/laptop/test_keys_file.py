"""A file of keys that is being edited: what is wrong costs itself alone, and what is half written nobody."""

from pathlib import Path

import pytest
from tests.operator.conftest import Build

from limpet_operator.laptop.client_keys import documents
from limpet_operator.laptop.keys_file import readable, settled, with_last
from limpet_operator.planning.plan import plan
from limpet_operator.sources.file_store import FileStore
from limpet_operator.sources.files import Scan, scan

GOOD = "laptop: lpk-0123456789abcdef\n"


def _clients(build: Build, path: Path, before: Scan | None = None) -> tuple[set[str], str]:
    """Who has a key, and what is said to be wrong with the file."""
    last = (readable(before.documents) if before else None) or ()
    store = FileStore(build.parser)
    found = tuple(with_last(scan(path, before).documents, last))
    store.replace(documents(found))
    planned = plan(store.objects, {})
    wrong = [each.problem.message for each in found if each.problem is not None]
    wrong += [str(each) for each in planned.findings.values()]
    return {each.name for each in planned.client_keys}, "; ".join(wrong)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("a:", "has no key"),
        ("a: 12345678901234567890", "in quotes"),
        ("a: true", "in quotes"),
        ("a: []", "has no key"),
        ("a: [7]", "Expected"),
        ("a: {key: 7}", "in quotes"),
        ("a: short", "5 characters"),
    ],
)
def test_an_entry_that_is_wrong_costs_itself_alone(build: Build, tmp_path: Path, entry: str, words: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"{GOOD}{entry}\n")
    clients, wrong = _clients(build, path)
    assert clients == {"laptop"}
    assert words in wrong


def test_a_list_of_keys_is_several_keys(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"{GOOD}a: [lpk-one-0123456789, lpk-two-0123456789]\n")
    assert _clients(build, path)[0] == {"laptop", "a"}


@pytest.mark.parametrize(
    "bad",
    [f"{GOOD}{GOOD}", f"{GOOD}\ta: b\n", f"{GOOD}: : [\n", "laptop", "- laptop\n", f"{GOOD}\xff", f"{GOOD}---\n: : ["],
)
def test_while_a_file_cannot_be_read_its_last_keys_count(build: Build, tmp_path: Path, bad: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"{GOOD}robot: lpk-robot-0123456789\n")
    before = scan(path)
    path.write_bytes(bad.encode("latin-1"))
    clients, wrong = _clients(build, path, before)
    assert clients == {"laptop", "robot"}
    assert "read last go on being served" in wrong


async def test_a_file_that_is_empty_while_it_is_written_is_not_taken(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("")
    steps = iter([lambda: None, lambda: path.write_text("lap"), path.unlink, lambda: path.write_text(GOOD)])

    async def sleep(_: float) -> None:
        next(steps, lambda: None)()

    assert [each.raw for each in (await settled(path, scan(path), sleep=sleep)).documents] == [
        {"laptop": "lpk-0123456789abcdef"}
    ]


async def test_a_file_that_stays_empty_has_no_keys(tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text("")
    waits: list[float] = []

    async def sleep(wait_s: float) -> None:
        waits.append(wait_s)

    assert not any(each.raw for each in (await settled(path, scan(path), sleep=sleep)).documents)
    assert sum(waits) == pytest.approx(1.0)
