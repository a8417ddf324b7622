"""`limpet activity` and `limpet status`, over a store and over a page."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import typer
from tests.activity.store.answers import RECORDS
from tests.activity.web.serving import on_loopback
from typer.testing import CliRunner

from limpet_activity.store.databases import parse_url
from limpet_activity.store.in_memory import InMemoryStore
from limpet_activity.store.port import ActivityStore
from limpet_activity.store.sql_store import SqlStore
from limpet_activity.terminal.commands import activity, status
from limpet_activity.web.app import web_app
from limpet_activity.web.settings import LOOPBACK_HOSTS, PageSettings
from limpet_extproc.contract.activity import VERSION, ActivityBatch, ActivityRecord, ProviderReport

TOKEN = "a-token-of-the-page"


def record(number: int, **more: object) -> ActivityRecord:
    known = {"provider": "alpha", "model": "small", "conversation": f"c0ffee{number:02}"} | more
    return ActivityRecord(f"r{number}", time.time() - 100 + number, "gw", "sticky.hit", 200, 0.5, **known)  # type: ignore[arg-type]


def fill(store: ActivityStore, *records: ActivityRecord) -> None:
    now_s = time.time()
    report = ProviderReport("alpha", "down", "Timeout", now_s - 120)
    store.take([ActivityBatch(VERSION, "gw", 0, 0, 1.0, records, (report,), now_s)], now_s)


def run(*arguments: str) -> tuple[int, str]:
    app = typer.Typer()
    app.command()(activity)
    app.command()(status)
    done = CliRunner().invoke(app, list(arguments))
    return done.exit_code, done.output


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    made = SqlStore(parse_url(f"sqlite:///{tmp_path}/activity.sqlite3"))
    made.prepare()
    yield made
    made.close()


@pytest.fixture
def url(store: SqlStore, tmp_path: Path) -> str:
    fill(store, *(record(number) for number in range(1, 31)), record(31, model="large", provider="beta"))
    return f"sqlite:///{tmp_path}/activity.sqlite3"


def test_the_newest_come_last(url: str) -> None:
    code, shown = run("activity", "--store", url, "-n", "3")
    assert code == 0
    assert [line.split("  ")[1] for line in shown.splitlines()] == ["c0ffee29", "c0ffee30", "c0ffee31"]


@pytest.mark.parametrize(
    ("flags", "count"),
    [
        (["--provider", "beta"], 1),
        (["--model", "small", "-n", "1000"], 30),
        (["--conversation", "c0ffee1", "-n", "100"], 10),
        (["--reason", "sticky.", "-n", "100"], 31),
        (["--failed"], 0),
        (["--gateway", "gw", "-n", "100"], 31),
        (["--gateway", "limpet-local-10001"], 0),
        (["--served", "--since", "1h", "-n", "100"], 31),
    ],
)
def test_flags_restrict_and_lines_are_json_where_asked_for(url: str, flags: list[str], count: int) -> None:
    code, shown = run("activity", "--store", url, "--json", *flags)
    assert code == 0
    assert len([json.loads(line)["id"] for line in shown.splitlines()]) == count


def test_more_than_one_page_is_fetched(store: SqlStore, url: str) -> None:
    fill(store, *(record(number) for number in range(100, 700)))
    _, shown = run("activity", "--store", url, "-n", "450")
    assert len(shown.splitlines()) == 450


def test_the_status_names_each_provider(url: str) -> None:
    code, shown = run("status", "--store", url)
    assert code == 0
    assert "down (Timeout) for 2 min" in next(line for line in shown.splitlines() if line.startswith("alpha"))
    assert "beta" in shown
    assert json.loads(run("status", "--store", url, "--json")[1])["seen"][0]["report"]["verdict"] == "down"


@pytest.fixture
def closed() -> Iterator[str]:
    """An address that is taken, and where nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["activity", "--reason", "nonsense"], "reason='nonsense' is not understood"),
        (["activity", "--since", "yesterday"], "or how long ago: 90s, 30m, 6h, 7d"),
        (["activity", "--url", "CLOSED"], "--url needs --token-file"),
        (["status", "--url", "CLOSED", "--store", "sqlite:///x"], "give one of them"),
        (["status", "--url", "ftp://x", "--token-file", "TOKEN"], "not an address such as"),
        (["status", "--url", "CLOSED", "--token-file", "TOKEN"], "CLOSED does not answer"),
        (["status", "--url", "CLOSED", "--token-file", "/nowhere"], "/nowhere cannot be read: No such file"),
        (["status", "--store", "mysql://x"], "not a database that this can use"),
    ],
)
def test_what_is_wrong_is_said(url: str, tmp_path: Path, closed: str, arguments: list[str], why: str) -> None:
    token = tmp_path / "token"
    token.write_text(TOKEN)
    why = why.replace("CLOSED", closed)
    given = [{"TOKEN": str(token), "CLOSED": closed}.get(each, each) for each in arguments]
    place = [] if {"--store", "--url"} & set(given) else ["--store", url]
    code, shown = run(*given, *place)
    assert (code, why in shown.replace("\n", " ")) == (1, True), shown


def test_without_a_place_it_is_the_file_of_limpet_up(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "from limpet_activity.terminal.commands import status; status()"]
    environ = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert "limpet/activity.sqlite3 does not exist: 'limpet up' writes it" in done.stderr


@pytest.fixture
def page(tmp_path: Path) -> Iterator[tuple[str, Callable[..., None]]]:
    """A page on a port, and how to add records."""
    store = InMemoryStore()
    fill(store, *RECORDS[:1], record(1))
    with on_loopback(web_app(store, PageSettings(TOKEN, LOOPBACK_HOSTS), time.time)) as address:
        yield address, lambda *records: fill(store, *records)


@pytest.mark.slow
def test_a_page_answers_the_same_and_new_requests_are_followed(
    page: tuple[str, Callable[..., None]], tmp_path: Path
) -> None:
    address, add = page
    right, wrong = tmp_path / "right", tmp_path / "wrong"
    right.write_text(TOKEN + "\n")
    wrong.write_text("another")
    assert "does not know that token" in run("status", "--url", address, "--token-file", str(wrong))[1]
    code = "import typer; from limpet_activity.terminal.commands import activity; typer.run(activity)"
    command = [sys.executable, "-c", code, "--follow", "-n", "1", "--url", address, "--token-file", str(right)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as following:
        assert following.stdout is not None
        assert "c0ffee01" in following.stdout.readline()
        add(record(2))
        assert "c0ffee02" in following.stdout.readline()
        following.send_signal(signal.SIGINT)
        assert following.wait(30) == 0
