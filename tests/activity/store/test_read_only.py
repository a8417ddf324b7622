"""Who only asks changes nothing: not the store, and not a file that is none."""

import sqlite3
import stat
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import URL
from tests.activity.store.answers import EVERYTHING, T0, fill, one

from limpet_activity.store.databases import UrlError, parse_url
from limpet_activity.store.port import StoreError
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import VERSION, ActivityBatch


def opened(file: Path, *, read_only: bool) -> SqlStore:
    return SqlStore(URL.create("sqlite", database=str(file)), read_only=read_only)


def as_it_is(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {each.name: (each.read_bytes(), stat.S_IMODE(each.stat().st_mode)) for each in folder.iterdir()}


def test_a_store_that_nobody_has_open_is_read_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "at 100%?#.db"
    with closing(opened(file, read_only=False)) as store:
        store.prepare()
        fill(store)
    before = as_it_is(tmp_path)
    assert list(before) == [file.name]
    with closing(opened(file, read_only=True)) as reader:
        reader.prepare()
        assert reader.state().records == 8
        assert as_it_is(tmp_path) == before
    assert as_it_is(tmp_path) == before


def test_a_running_service_is_followed_also_when_it_begins_later(tmp_path: Path) -> None:
    file = tmp_path / "activity.db"
    with closing(opened(file, read_only=False)) as store:
        store.prepare()
    with closing(opened(file, read_only=True)) as reader:
        reader.prepare()
        with closing(opened(file, read_only=False)) as store:
            fill(store)
            assert reader.last_number() == 8
            store.take([ActivityBatch(VERSION, "w", 1, 0, T0, (one(99, 9),), (), T0)], T0 + 600)
            assert [record.id for record in reader.page(EVERYTHING, None, 1).records] == ["r99"]
        assert reader.last_number() == 9


def test_a_reader_cannot_write(new_url: Callable[[], str]) -> None:
    url = parse_url(new_url())
    with closing(SqlStore(url)) as store:
        with pytest.raises(StoreError, match="not a"), closing(SqlStore(url, read_only=True)) as reader:
            reader.prepare()
        store.prepare()
        fill(store)
        with closing(SqlStore(url, read_only=True)) as reader:
            reader.prepare()
            assert reader.last_number() == 8
            with pytest.raises(StoreError, match=r"read-?only"):
                fill(reader)


@pytest.mark.parametrize("content", [b"", b"my notes\n", b"SQLite format 3\0" + b"garbage" * 999])
def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "notes"
    file.write_bytes(content)
    file.chmod(0o664)
    before = as_it_is(tmp_path)
    with pytest.raises(StoreError), closing(opened(file, read_only=True)) as reader:
        reader.prepare()
    assert as_it_is(tmp_path) == before


def test_the_database_of_another_program_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "places.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("CREATE TABLE places (url text)")
    file.chmod(0o664)
    before = as_it_is(tmp_path)
    with closing(opened(file, read_only=True)) as reader, pytest.raises(StoreError, match="not a store of limpet"):
        reader.prepare()
    assert as_it_is(tmp_path) == before


def test_tables_of_another_version_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "activity.db"
    with closing(opened(file, read_only=False)) as store:
        store.prepare()
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with closing(opened(file, read_only=True)) as reader, pytest.raises(StoreError, match="version 9999"):
        reader.prepare()


def test_a_missing_file_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be read: No such file"):
        opened(tmp_path / "typo" / "activity.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_options_in_the_url_of_a_file_are_refused() -> None:
    with pytest.raises(UrlError, match=r"no \?options"):
        parse_url("sqlite:///activity.db?mode=ro")
