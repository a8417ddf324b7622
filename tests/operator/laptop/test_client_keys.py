"""Keys of clients on a laptop: a file of names and keys, a new key, and what is said of both."""

from pathlib import Path

import pytest
from tests.operator.conftest import Build
from typer.testing import CliRunner

from limpet_extproc.contract.client_keys import ClientKeysMode, digest_of
from limpet_operator.laptop.client_keys import as_keys, caution, client_keys, documents, greeting_lines, new_key
from limpet_operator.laptop.validate import render_line, validate
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.sources import files
from limpet_operator.sources.file_store import FileStore

KEY = "lpk-0123456789abcdef"
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: more, labels: {limpet.dev/client-keys: "true"}}
stringData: {robot: lpk-robot-0123456789}
"""


def _planned(build: Build, path: Path) -> Plan:
    store = FileStore(build.parser)
    store.replace(documents(files.scan(path).documents))
    return plan(store.objects, {})


def test_a_file_has_names_and_keys_or_secrets(build: Build, tmp_path: Path) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"laptop: {KEY}\nbound: {{key: lpk-bound-0123456789, models: [a]}}\n---{SECRET}")
    clients = {each.name: each for each in _planned(build, path).client_keys}
    assert clients.keys() == {"laptop", "bound", "robot"}
    assert clients["bound"].models == ("a",)
    assert clients["laptop"].digests == (digest_of(KEY).hex(),)


def test_a_name_that_yaml_takes_for_something_else_stays_what_is_written(build: Build, tmp_path: Path) -> None:
    path, names = tmp_path / "keys.yaml", ["no", "y", "On", "1.10", "0123"]
    path.write_text("".join(f"{name}: {KEY}-{number}\n" for number, name in enumerate(names)))
    assert {each.name for each in _planned(build, path).client_keys} == set(names)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f"laptop: {KEY}", "document 1): used as written; keys of 1 client"),
        (f"my laptop: {KEY}", "a client's name has up to 63"),
        ("laptop: sha256:0c", "laptop: has a sha256 that is not 64 hexadecimal digits"),
        (f"laptop: {KEY}\nrobot: {KEY}", "robot: its key is that of laptop already"),
        (f"laptop: {{key: {KEY}, usdPerDay: 0}}", "laptop: usdPerDay is 0"),
        (f"metadata: {{name: {KEY}}}", "skip document"),
    ],
)
def test_a_file_of_keys_is_validated_as_up_reads_it(build: Build, tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    (line,) = validate(as_keys(files.scan(path)), {}, build.parser)
    assert words in render_line(line)
    assert KEY not in render_line(line)


def test_a_new_key_is_printed_with_the_entry_that_knows_it() -> None:
    said = CliRunner().invoke(client_keys, ["new", "laptop"])
    assert said.exit_code == 0
    key, entry = (line.split(":", 1)[1].strip() for line in said.output.splitlines())
    assert entry == f"laptop: sha256:{digest_of(key).hex()}"
    assert key != CliRunner().invoke(client_keys, ["new", "laptop"]).output.splitlines()[0].split(": ")[1].strip()
    assert new_key(b"\x01" * 32) == "lpk-" + "01" * 32


def test_no_key_is_made_for_a_name_that_none_can_have() -> None:
    said = CliRunner().invoke(client_keys, ["new", "my laptop"])
    assert said.exit_code == 2


@pytest.mark.parametrize(
    ("mode", "known", "words"),
    [
        ("Off", False, ""),
        ("Off", True, "none is asked for"),
        ("Optional", False, "others are served without"),
        ("Optional", True, "others are, too, served"),
        ("Required", False, "nobody is served"),
        ("Required", True, "no others are served"),
    ],
)
def test_who_is_served_is_said(build: Build, tmp_path: Path, mode: ClientKeysMode, known: bool, words: str) -> None:
    path = tmp_path / "keys.yaml"
    path.write_text(f"laptop: {KEY}\n" if known else "")
    said = " ".join(greeting_lines(_planned(build, path), mode))
    assert words in said
    assert bool(said) is bool(words)


@pytest.mark.parametrize(
    ("mode", "words"), [("Off", "does not authenticate"), ("Optional", "without a key"), ("Required", "")]
)
def test_a_gateway_that_all_can_reach_warns_unless_each_needs_a_key(mode: ClientKeysMode, words: str) -> None:
    said = caution("0.0.0.0", mode)
    assert words in said
    assert bool(said) is bool(words)
