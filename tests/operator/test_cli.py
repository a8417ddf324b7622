"""The `limpet` command: what it refuses, what it prints, and the status it ends with."""

from collections.abc import Callable
from importlib.metadata import EntryPoint, version
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from limpet_operator.cli import application

QUICKSTART = str(Path(__file__).parents[2] / "examples" / "quickstart")
BAD = """
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {name: a}
spec: {vendor: DeepSeek, url: "ftp://example.org", models: [{name: m}]}
"""


Limpet = Callable[..., Result]


@pytest.fixture(scope="module")
def limpet() -> Limpet:
    def run(*arguments: str) -> Result:
        return CliRunner().invoke(application(arguments), arguments, env={"COLUMNS": "200", "TERM": "dumb"})

    return run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "10000"], "HOST:PORT, for example 127.0.0.1:10000"),
        (["--listen", ":10000"], "HOST:PORT"),
        (["--listen", "127.0.0.1:"], "HOST:PORT"),
        (["--listen", "127.0.0.1:port"], "HOST:PORT"),
        (["--listen", "127.0.0.1:0"], "HOST:PORT"),
        (["--listen", "127.0.0.1:65536"], "HOST:PORT"),
        (["--body-limit-mib", "0"], "--body-limit-mib"),
        (["--routing", "Magic"], "--routing"),
        (["--metrics-port", "65535"], "--metrics-port"),
        (["--metrics-port", "-1"], "--metrics-port"),
        (["--metrics-port", "10000"], "10000 is the gateway's own port"),
        (["--metrics-port", "9999"], "10000 is the gateway's own port"),
        (["--listen", "::1:10000"], "write [::1]:10000"),
        (["--allow-host", "http://gateway.example"], "such as gateway.example"),
        (["--cors-origin", "chat.example"], "such as https://chat.example"),
        (["--routing", "header", "--body-limit-mib", "0"], "--body-limit-mib"),
        (["--no-such-flag"], "--no-such-flag"),
    ],
)
def test_a_wrong_flag_is_named_before_anything_starts(limpet: Limpet, arguments: list[str], message: str) -> None:
    result = limpet("up", QUICKSTART, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize("command", ["up", "validate", "render"])
def test_a_directory_that_is_not_there_is_named(limpet: Limpet, command: str, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    result = limpet(command, str(gone))
    assert result.exit_code == 1
    assert result.stdout.startswith(f"limpet {command}: ")
    assert str(gone) in result.stdout
    assert "Traceback" not in result.output


def test_a_file_of_keys_that_is_not_there_is_named(limpet: Limpet, tmp_path: Path) -> None:
    gone = tmp_path / "keys.yaml"
    result = limpet("up", QUICKSTART, "--no-activity", "--client-keys", str(gone))
    assert result.exit_code == 1
    assert result.stdout.splitlines()[-1] == f"limpet up: there is no file {gone}, which --client-keys names"


@pytest.mark.parametrize("command", ["up", "validate"])
def test_a_command_without_its_directory_shows_its_usage(limpet: Limpet, command: str) -> None:
    result = limpet(command)
    assert result.exit_code == 2
    assert "Missing argument 'directory'" in result.stderr


def test_help_lists_every_command_of_every_part(limpet: Limpet) -> None:
    shown = limpet("--help").stdout
    for command in ("up", "validate", "render", "simulate"):
        assert f"  {command} " in shown


def test_help_has_the_whole_first_sentence(limpet: Limpet) -> None:
    narrow = CliRunner().invoke(application(["--help"]), ["--help"], env={"COLUMNS": "60", "TERM": "dumb"}).stdout
    assert "no cluster." in " ".join(narrow.split())
    assert "..." not in narrow.partition("Commands:")[2]
    for flags in (("-h",), ("up", "-h"), ("validate", "-h")):
        assert limpet(*flags).stdout.startswith("Usage: ")


def test_the_version_is_printed(limpet: Limpet) -> None:
    assert limpet("--version").stdout == f"limpet {version('limpet')}\n"


def test_a_command_that_is_misspelt_is_guessed(limpet: Limpet) -> None:
    result = limpet("valdate")
    assert result.exit_code == 2
    assert "Did you mean 'validate'?" in result.stderr


def test_every_object_of_the_quickstart_is_ok(limpet: Limpet) -> None:
    result = limpet("validate", QUICKSTART)
    assert result.exit_code == 0
    assert "seller-a" in result.stdout


def test_a_bad_object_is_named_and_ends_with_status_1(limpet: Limpet, tmp_path: Path) -> None:
    (tmp_path / "provider.yaml").write_text(BAD)
    result = limpet("validate", str(tmp_path))
    assert result.exit_code == 1
    assert "provider.yaml" in result.stdout
    assert "spec.url" in result.stdout


def test_a_file_of_keys_is_validated_by_its_name(limpet: Limpet, tmp_path: Path) -> None:
    (tmp_path / "keys.yaml").write_text("laptop: lpk-short\n")
    result = limpet("validate", str(tmp_path / "keys.yaml"))
    assert result.exit_code == 1
    assert "laptop: has a key of 9 characters" in result.stdout


def test_an_empty_directory_is_reported(limpet: Limpet, tmp_path: Path) -> None:
    result = limpet("validate", str(tmp_path))
    assert "has no YAML or JSON files" in result.stdout
    assert result.exit_code == 1, "a wrong directory must not look as if all were well"


def test_a_note_ends_with_status_1_where_that_is_asked_for(limpet: Limpet, tmp_path: Path) -> None:
    probe = (
        "{apiVersion: limpet.dev/v1alpha1, kind: StickyPolicy, metadata: {name: a}, spec: {models: [nobody-has-it]}}"
    )
    (tmp_path / "a.yaml").write_text(probe)
    results = [limpet("validate", str(tmp_path), *strict) for strict in ((), ("--strict",))]
    assert [result.exit_code for result in results] == [0, 1]
    assert all("note StickyPolicy a" in result.stdout for result in results)


def test_what_is_rendered_is_yaml_in_envoys_words_without_a_key(limpet: Limpet) -> None:
    result = limpet("render", QUICKSTART)
    assert result.exit_code == 0
    resources = list(yaml.safe_load_all(result.stdout))
    kinds = {(each["@type"].rpartition(".")[2], each["name"]) for each in resources}
    assert {("Cluster", f"seller-{letter}") for letter in "abc"} <= kinds
    secrets = [name for kind, name in kinds if kind == "Secret"]
    assert {name.partition("@")[0] for name in secrets} == {f"limpet/credential/seller-{letter}" for letter in "abc"}
    assert {("Listener", "limpet"), ("RouteConfiguration", "limpet")} <= kinds
    assert "key-of-seller" not in result.stdout
    assert result.stdout.count("(hidden)") == 3
    assert "&id" not in result.stdout, "each resource can be read by itself"
    assert "lines, see --scripts)" in result.stdout
    whole = limpet("render", "--scripts", QUICKSTART).stdout
    assert "--scripts" not in whole
    assert "inline_string: |\n" in whole, "a script is a block of lines"
    assert whole.count("\n") > result.stdout.count("\n") + 1_000
    assert whole.count("function envoy_on_response") == 1, "the program of every attempt stands once"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give either a directory with objects or --for envoy"),
        ((QUICKSTART, "--for", "envoy"), "give either a directory with objects or --for envoy"),
        (("--for", "nginx"), "--for"),
        (("--for", "envoy", "--operator", "operator"), "operator is not HOST:PORT"),
        (
            ("--for", "envoy", "--operator", "http://operator:18000"),
            "write one such as limpet-operator.limpet.svc:18000",
        ),
        (("--for", "envoy", "--operator", "operator:0"), "operator:0 is not HOST:PORT"),
    ],
)
def test_a_wrong_flag_of_render_is_named(limpet: Limpet, flags: tuple[str, ...], message: str) -> None:
    result = limpet("render", *flags)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


@pytest.mark.parametrize(
    ("flags", "tls"),
    [
        ((), ("/etc/limpet/tls/tls.key", "limpet-operator.limpet.svc")),
        (("--operator", "o.example:1", "--tls-dir", "/tls"), ("/tls/tls.key", "o.example")),
        (("--operator", "10.0.0.1:1", "--operator-name", "o.example"), ("/etc/limpet/tls/tls.key", "o.example")),
        (("--operator", "127.0.0.1:1"), None),
        (("--operator", "[::1]:1"), None),
        (("--operator", "localhost:1", "--tls-dir", "/tls"), ("/tls/tls.key", "localhost")),
    ],
)
def test_a_bootstrap_of_an_own_envoy_has_its_certificates(
    limpet: Limpet, flags: tuple[str, ...], tls: tuple[str, str] | None
) -> None:
    result = limpet("render", "--for", "envoy", "--node", "own", *flags)
    assert result.exit_code == 0
    config = yaml.safe_load(result.stdout)
    assert config["node"]["id"] == "own"
    controlplane = config["static_resources"]["clusters"][0]
    assert ("transport_socket" in controlplane) == (tls is not None)
    if tls is not None:
        context = controlplane["transport_socket"]["typed_config"]["common_tls_context"]
        (names,) = context["validation_context"]["match_typed_subject_alt_names"]
        key = context["tls_certificates"][0]["private_key"]["filename"]
        assert (key, names["matcher"]["exact"]) == tls


def test_a_command_whose_packages_are_not_installed_spoils_none_of_the_others() -> None:
    lab = EntryPoint("soar", "limpet_wings.fly:soar", "limpet.commands")
    listed = CliRunner().invoke(application(["--help"], [lab]), ["--help"])
    assert "validate" in listed.output
    assert "make tools" in listed.output
    with pytest.raises(
        SystemExit,
        match=r"limpet_wings is not installed here; 'make tools' in the checkout, or pip install 'limpet\[lab\]'",
    ):
        application(["soar"], [lab])
