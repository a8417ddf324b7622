"""A database that is full, away or of another version: nothing is lost that was said to be kept."""

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import text
from tests.activity.store.answers import T0, one

from limpet_activity.store.databases import UrlError, parse_url
from limpet_activity.store.port import ActivityFilter, StoreError
from limpet_activity.store.retention import KeepLimits
from limpet_activity.store.sql_store import SqlStore
from limpet_extproc.contract.activity import VERSION, ActivityBatch
from limpet_lab.postgresql import PostgresqlServer, postgresql_server


def batch(first: int, count: int) -> ActivityBatch:
    records = [one(number, 0, path="/" + "x" * 200) for number in range(first, first + count)]
    return ActivityBatch(VERSION, "gw", 0, 0, T0, records, (), T0)


def sqlite(folder: Path) -> SqlStore:
    store = SqlStore(parse_url(f"sqlite:///{folder}/kept/activity.sqlite3"))
    store.prepare()
    return store


def test_the_file_is_for_its_user_alone_and_survives_a_restart(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    store.take([batch(1, 3)], T0)
    folder = tmp_path / "kept"
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())}
    assert modes.pop("kept") == 0o700
    assert set(modes.values()) == {0o600}
    store.close()
    again = sqlite(tmp_path)
    assert again.take([batch(2, 3)], T0) == 1
    assert again.sums(ActivityFilter()).requests == 4
    again.close()


def test_a_full_disk_refuses_all_of_a_batch_and_takes_it_later(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    store.take([batch(0, 10)], T0)
    engine = store._database.engine
    engine.dispose()
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 20}")
    with pytest.raises(StoreError, match="disk is full"):
        store.take([batch(10, 500)], T0)
    assert store.sums(ActivityFilter()).requests == 10
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
    assert store.take([batch(10, 500)], T0) == 500
    assert store.sums(ActivityFilter()).requests == 510
    assert store.page(ActivityFilter(reason="sticky.hit"), None, 1).records
    store.close()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match=r"file/activity.sqlite3 cannot be written"):
        SqlStore(parse_url(f"sqlite:///{tmp_path}/file/activity.sqlite3"))


def test_tables_of_a_later_version_are_left_alone(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    with store._database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match="later version"):
        store.prepare()
    store.close()


@pytest.mark.slow
def test_postgresql_may_restart_in_the_middle() -> None:
    with postgresql_server(["fsync=off"]) as server:
        store = SqlStore(parse_url(server.url()))
        store.prepare()
        assert store.take([batch(0, 10)], T0) == 10
        server.stop()
        with pytest.raises(StoreError):
            store.take([batch(5, 10)], T0)
        with pytest.raises(StoreError):
            store.sums(ActivityFilter())
        server.start()
        assert store.take([batch(5, 10)], T0) == 5
        assert store.sums(ActivityFilter()).requests == 15
        store.close()


@pytest.mark.slow
def test_several_services_share_a_postgresql(postgresql: PostgresqlServer) -> None:
    postgresql.run("CREATE DATABASE shared")
    one_service, other = (SqlStore(parse_url(postgresql.url("shared"))) for _ in range(2))
    for service in (one_service, other):
        service.prepare()
    assert [service.take([batch(first, 10)], T0) for first in (0, 5) for service in (one_service, other)] == [
        10,
        0,
        5,
        0,
    ]
    assert one_service.last_number() == other.last_number() == 15
    assert other.sums(ActivityFilter(reason="sticky.")).requests == 15
    for service in (one_service, other):
        service.close()


@pytest.mark.slow
def test_a_password_is_in_no_error(postgresql: PostgresqlServer) -> None:
    store = SqlStore(parse_url("postgresql://user:s3cret-w0rd@127.0.0.1:1/none"))
    with pytest.raises(StoreError) as error:
        store.prepare()
    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "not a URL"),
        ("activity.sqlite3", "not a URL"),
        ("sqlite://", "a file is missing"),
        ("mysql://host/db", "mysql: not a database"),
    ],
)
def test_urls_that_are_none(url: str, why: str) -> None:
    with pytest.raises(UrlError, match=why) as error:
        parse_url(url)
    assert "s3cret" not in str(error.value)


def test_a_ca_file_asks_for_a_certificate_of_the_host(tmp_path: Path) -> None:
    url = parse_url("postgres://user@db.example/limpet", tmp_path / "ca.crt")
    assert (url.drivername, url.query["sslmode"]) == ("postgresql+psycopg", "verify-full")
    assert url.query["sslrootcert"] == str(tmp_path / "ca.crt")


def test_a_file_that_was_removed_is_noticed(tmp_path: Path) -> None:
    store = sqlite(tmp_path)
    store.take([batch(0, 3)], T0)
    for path in (tmp_path / "kept").iterdir():
        path.unlink()
    assert store.take([batch(3, 4)], T0) == 4
    store.close()
    again = sqlite(tmp_path)
    assert again.sums(ActivityFilter()).requests == 4
    again.close()


@pytest.mark.parametrize("kind", ["text", "database"])
def test_a_file_of_another_program_is_left_as_it_is(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "other"
    if kind == "text":
        file.write_text("Dear diary\n" * 1000)
    else:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE diary (day TEXT)")
    file.chmod(0o664)
    before = file.read_bytes()
    with pytest.raises(StoreError, match=r"another program|cannot be read as a database"):
        SqlStore(parse_url(f"sqlite:///{file}"))
    assert file.read_bytes() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o664
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["LATIN1", "SQL_ASCII"])
def test_a_database_that_cannot_hold_all_names_is_refused(postgresql: PostgresqlServer, encoding: str) -> None:
    name = f"in_{encoding.lower()}"
    postgresql.run(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
    store = SqlStore(parse_url(postgresql.url(name)))
    with pytest.raises(StoreError, match=f"encoded in {encoding}"):
        store.prepare()
    store.close()


@pytest.mark.slow
def test_a_long_reader_does_not_hold_up_those_who_write(postgresql: PostgresqlServer) -> None:
    postgresql.run("CREATE DATABASE dumped")
    store, reader = (SqlStore(parse_url(postgresql.url("dumped"))) for _ in range(2))
    store.prepare()
    store.take([batch(0, 1)], T0)
    later = T0 + 20 * 3_600
    while store.tidy(KeepLimits(days=0.1), later):
        pass
    later = T0 + 40 * 3_600
    with reader._database.reading() as connection:
        assert connection.execute(text("SELECT count(*) FROM records")).scalar() == 1
        while store.tidy(KeepLimits(days=0.1), later):
            pass
        assert store.take([batch(1, 1)], later) == 1
        assert store.record("r0") is not None
    while store.tidy(KeepLimits(days=0.1), later):
        pass
    assert store.record("r0") is None
    store.close()
    reader.close()
