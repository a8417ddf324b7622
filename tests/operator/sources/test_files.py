"""Directories of files: what is read, what is read again, what is noticed."""

import asyncio
import os
import shutil
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest
from watchfiles import awatch

from limpet_operator.sources.files import Scan, scan, watch


def _told(result: Scan) -> list[tuple[str, int, int, object]]:
    return [(each.origin.file, each.origin.document, each.origin.line, each.raw) for each in result.documents]


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_reads_yaml_and_json_by_name_and_place(tmp_path: Path) -> None:
    _write(tmp_path / "b.yml", "a: 1\n---\n# nothing\n---\na: 2\n")
    _write(tmp_path / "a" / "x.yaml", "a: 3\n")
    _write(tmp_path / "c.json", '{"a": 4}')
    _write(tmp_path / "notes.txt", "a: 5\n")
    _write(tmp_path / ".hidden.yaml", "a: 6\n")
    _write(tmp_path / ".git" / "x.yaml", "a: 7\n")
    assert _told(scan(tmp_path)) == [
        ("a/x.yaml", 1, 1, {"a": 3}),
        ("b.yml", 1, 1, {"a": 1}),
        ("b.yml", 2, 4, {"a": 2}),
        ("c.json", 1, 1, {"a": 4}),
    ]
    assert _told(scan(tmp_path / "c.json")) == [("c.json", 1, 1, {"a": 4})]


def test_suffixes_are_known_in_any_case(tmp_path: Path) -> None:
    _write(tmp_path / "a.YAML", "a: 1\n")
    _write(tmp_path / "b.Yml", "a: 2\n")
    _write(tmp_path / "c.JSON", '{"a": 3}')
    assert [each.raw for each in scan(tmp_path).documents] == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_each_item_of_a_list_is_an_object_and_keeps_its_identity_while_the_list_stays(tmp_path: Path) -> None:
    _write(tmp_path / "a.yaml", "a: 1\n---\nkind: List\nitems: [{a: 2}, {a: 3}]\n---\na: 4\n")
    _write(tmp_path / "b.json", '{"kind": "ProviderList", "items": [{"a": 5}]}')
    _write(tmp_path / "c.yaml", "kind: List\nitems: []\n---\nkind: Menu\nitems: [{a: 6}]\n")
    first = scan(tmp_path)
    raws = [each.raw for each in first.documents]
    assert raws == [{"a": 1}, {"a": 2}, {"a": 3}, {"a": 4}, {"a": 5}, {"kind": "Menu", "items": [{"a": 6}]}]
    assert [str(each.origin) for each in first.files["a.yaml"].documents][1:3] == [
        "a.yaml, document 2, item 1",
        "a.yaml, document 2, item 2",
    ]
    _write(tmp_path / "a.yaml", "a: 0\n---\nkind: List\nitems: [{a: 2}, {a: 3}]\n---\na: 4\n")
    second = scan(tmp_path, first)
    assert [each.raw for each in second.documents][:4] == [{"a": 0}, {"a": 2}, {"a": 3}, {"a": 4}]
    before, after = first.files["a.yaml"].documents, second.files["a.yaml"].documents
    assert all(old is new for old, new in zip(before[1:], after[1:], strict=True))


def test_a_bad_document_spoils_only_itself(tmp_path: Path) -> None:
    _write(tmp_path / "a.yaml", "a: 1\n---\nb: [\n---\nc: 3\n")
    (tmp_path / "b.yaml").write_bytes(b"a: \xff\n")
    _write(tmp_path / "c.json", '{"a" 1}')
    documents = list(scan(tmp_path).documents)
    assert [each.raw for each in documents] == [{"a": 1}, None, {"c": 3}, None, None]
    assert [str(each.problem) for each in documents if each.problem] == [
        "line 4: not valid YAML: did not find expected node content",
        "is not UTF-8 (byte 3); save it as UTF-8",
        "line 1: not valid JSON: Expecting ':' delimiter",
    ]
    assert [str(each.origin) for each in documents[:1] + documents[3:4]] == ["a.yaml, document 1", "b.yaml"]


def test_a_dangling_link_is_a_problem_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to(tmp_path / "gone.yaml")
    (document,) = scan(tmp_path).documents
    assert (
        str(document.problem) == "cannot be read: No such file or directory; check that the file exists and may be read"
    )
    assert scan(tmp_path, first := scan(tmp_path)).same_as(first)


def test_no_directory() -> None:
    with pytest.raises(
        FileNotFoundError, match="there is no directory nowhere; create it with your YAML files, or name another"
    ):
        scan(Path("nowhere"))


def test_only_what_changed_is_read_again(tmp_path: Path) -> None:
    _write(tmp_path / "a.yaml", "a: 1\n---\na: 2\n")
    _write(tmp_path / "b.yaml", "b: 1\n")
    first = scan(tmp_path)
    assert scan(tmp_path, first).same_as(first)
    _write(tmp_path / "a.yaml", "# moved down\na: 0\n---\na: 2\n")
    second = scan(tmp_path, first)
    assert not second.same_as(first)
    assert second.files["b.yaml"].documents == first.files["b.yaml"].documents
    changed, unchanged = second.files["a.yaml"].documents
    assert (changed.raw, unchanged.raw, unchanged.origin.line) == ({"a": 0}, {"a": 2}, 3)
    assert unchanged.raw is first.files["a.yaml"].documents[1].raw
    (tmp_path / "b.yaml").unlink()
    assert set(scan(tmp_path, second).files) == {"a.yaml"}


def test_a_stamp_is_trusted_only_when_the_clock_has_moved_on(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    _write(file, "a: 1\n---\nb: 1\n---\nb: 1\n---\nc: [\n")
    written_ns = file.stat().st_mtime_ns
    at_once = scan(tmp_path, clock_ns=lambda: written_ns)
    later = scan(tmp_path, at_once, clock_ns=lambda: written_ns + 10**9)
    assert later.same_as(at_once)
    assert (at_once.files["a.yaml"].stamp, later.files["a.yaml"].stamp is None) == (None, False)
    assert scan(tmp_path, later).files["a.yaml"] is later.files["a.yaml"]
    _write(file, "a: 2\n---\nb: 1\n---\nb: 1\n---\nc: [\n")
    os.utime(file, ns=(written_ns, written_ns))
    assert not scan(tmp_path, at_once).same_as(at_once)


def test_a_configmap_volume_is_read_once(tmp_path: Path) -> None:
    _write(tmp_path / "..2026_1" / "a.yaml", "a: 1\n")
    (tmp_path / "..data").symlink_to("..2026_1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    first = scan(tmp_path)
    assert _told(first) == [("a.yaml", 1, 1, {"a": 1})]
    _write(tmp_path / "..2026_2" / "a.yaml", "a: 2\n")
    (tmp_path / "..new").symlink_to("..2026_2")
    (tmp_path / "..new").rename(tmp_path / "..data")
    assert _told(scan(tmp_path, first)) == [("a.yaml", 1, 1, {"a": 2})]


def _swap_configmap(directory: Path) -> None:
    _write(directory / "..2" / "a.yaml", "a: 2\n")
    (directory / "..new").symlink_to("..2")
    (directory / "..new").rename(directory / "..data")


def _replace_as_editors_do(directory: Path) -> None:
    _write(directory / "a.yaml~", "a: 2\n")
    (directory / "a.yaml~").rename(directory / "a.yaml")


@pytest.mark.parametrize(
    "change",
    [
        _swap_configmap,
        _replace_as_editors_do,
        lambda directory: _write(directory / "sub" / "b.yaml", "b: 1\n"),
        lambda directory: (directory / "a.yaml").unlink(),
    ],
    ids=["configmap swap", "rename over", "new file in new folder", "removed"],
)
async def test_changes_are_noticed(tmp_path: Path, change: Callable[[Path], object]) -> None:
    _write(tmp_path / "..1" / "a.yaml", "a: 1\n")
    (tmp_path / "..data").symlink_to("..1")
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    first = scan(tmp_path)
    async with asyncio.timeout(20), aclosing(watch(tmp_path, first)) as scans:
        waiting = asyncio.ensure_future(anext(scans))
        await asyncio.sleep(0.1)
        change(tmp_path)
        seen = await waiting
        assert not seen.same_as(first)
        # What is written in several steps may be seen in several, up to the current state.
        while not seen.same_as(scan(tmp_path, seen)):
            seen = await anext(scans)
        assert _told(seen) == _told(scan(tmp_path))


def _notified(path: Path) -> AsyncGenerator[object]:
    """Without the timer, by which every change is seen sooner or later."""
    return awatch(path, watch_filter=None, debounce=50, step=5)


@pytest.mark.parametrize("away", ["removed", "renamed"])
async def test_a_directory_in_the_place_of_the_first_is_followed_as_the_first_was(tmp_path: Path, away: str) -> None:
    home = tmp_path / "config"
    _write(home / "a.yaml", "a: 1\n")
    first, gone = scan(home), asyncio.Event()
    async with asyncio.timeout(20), aclosing(watch(home, first, gone.set, _notified)) as scans:
        waiting = asyncio.ensure_future(anext(scans))
        await asyncio.sleep(0.1)
        shutil.rmtree(home) if away == "removed" else home.rename(tmp_path / "elsewhere")
        await gone.wait()
        _write(home / "a.yaml", "a: 22\n")
        assert _told(await waiting)[0][3] == {"a": 22}
        waiting = asyncio.ensure_future(anext(scans))
        await asyncio.sleep(0.1)
        _write(home / "a.yaml", "a: 333\n")
        assert _told(await waiting)[0][3] == {"a": 333}


async def test_a_directory_that_is_gone_changes_nothing(tmp_path: Path) -> None:
    home, away = tmp_path / "config", tmp_path / "away"
    _write(home / "a.yaml", "a: 1\n")
    first, looks, gone = scan(home), 0, asyncio.Event()

    async def events(_: Path) -> AsyncGenerator[object]:
        home.rename(away)
        yield object()
        await asyncio.Event().wait()

    async def sleep(_: float) -> None:
        nonlocal looks
        looks += 1
        if looks == 30:
            _write(away / "a.yaml", "a: 22\n")
            away.rename(home)
        await asyncio.sleep(0)

    async with asyncio.timeout(20), aclosing(watch(home, first, gone.set, events, sleep)) as scans:
        assert _told(await anext(scans)) == [("a.yaml", 1, 1, {"a": 22})]
    assert looks == 30
    assert gone.is_set()
