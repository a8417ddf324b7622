"""Wrong flags: what is said of each."""

from pathlib import Path

import pytest

from limpet_activity.process.flags import parse

STORE = ["--store", "none"]
TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ([], "give one of --store and --store-url-file"),
        ([*STORE, "--store-url-file", "FOLDER/token"], "give one of --store and --store-url-file"),
        (["--store", "mysql://h/d"], "--store: mysql: not a database"),
        (["--store", "sqlite://"], "--store: a file is missing"),
        (["--store-url-file", "FOLDER/none"], "cannot be read"),
        (["--store-url-file", "FOLDER/token"], "--store-url-file: not a URL"),
        ([*STORE, "--listen", "0.0.0.0:9320"], "not without TLS, anyone could hand records over"),
        ([*STORE, "--listen", "9320"], "--listen 9320: not HOST:PORT"),
        ([*STORE, "--http", "x"], "--http x: not HOST:PORT"),
        ([*STORE, "--probes", "x"], "--probes x: not HOST:PORT"),
        ([*STORE, "--tls-dir", "FOLDER"], "--tls-dir and --gateway-name go together"),
        ([*STORE, "--gateway-name", "g"], "--tls-dir and --gateway-name go together"),
        ([*STORE, "--retention-days", "0"], "--retention-days 0: more than 0"),
        ([*STORE, "--retention-days", "nan"], "--retention-days nan: more than 0"),
        ([*STORE, "--retention-days", "3661"], "at most 3660"),
        ([*STORE, "--max-size-mib", "9"], "--max-size-mib 9: at least 10"),
        ([*STORE, "--page", "127.0.0.1:1"], "--page without --page-token-file"),
        ([*STORE, "--page", "x", "--page-token-file", "FOLDER/token"], "--page x: not HOST:PORT"),
        ([*STORE, "--page", "127.0.0.1:1", "--page-token-file", "FOLDER/none"], "cannot be read"),
        ([*STORE, "--page", "127.0.0.1:1", "--page-token-file", "FOLDER/short"], "at least 16 characters"),
    ],
)
def test_wrong_flags(flags: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "token").write_text(TOKEN)
    (tmp_path / "short").write_text(TOKEN[:-1])
    with pytest.raises(SystemExit) as ended:
        parse([flag.replace("FOLDER", str(tmp_path)) for flag in flags])
    assert ended.value.code == 2
    said = " ".join(capsys.readouterr().err.split())
    assert why in said
    assert TOKEN not in said


def test_the_store_may_be_named_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "url").write_text("postgresql://limpet:word@db/limpet\n")
    store = parse(["--store-url-file", str(tmp_path / "url")]).store
    assert store is not None
    assert (store.host, store.password) == ("db", "word")


def test_a_page_on_loopback_answers_to_its_names_alone(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    settings = parse([*STORE, "--page", "127.0.0.1:0", "--page-token-file", str(tmp_path / "token")])
    assert settings.page_settings is not None
    assert settings.page_settings.allowed_hosts == {"localhost", "127.0.0.1", "::1"}
