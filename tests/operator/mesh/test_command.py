"""`limpet mesh istio` with Providers from files: what it prints, and what it refuses."""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml
from tests.operator.conftest import Build
from typer.testing import CliRunner, Result

from limpet_operator.cli import application


@pytest.fixture
def directory(build: Build, tmp_path: Path) -> Path:
    bad = build.raw("Provider", "bad", url="ftp://x.example")
    for each in (build.raw("Provider"), build.raw("Provider", "b", url="https://b.example/v1"), bad):
        (tmp_path / f"{each['metadata']['name']}.yaml").write_text(yaml.safe_dump(each))
    return tmp_path


SIDECAR = ("--mode", "sidecar", "--app-namespace", "a", "--ca-file", "f")


def run(*flags: str) -> Result:
    arguments = ("mesh", "istio", *flags)
    return CliRunner().invoke(application(arguments), arguments, env={"COLUMNS": "200", "TERM": "dumb"})


def test_each_object_has_a_comment_and_none_is_missing(directory: Path) -> None:
    result = run("--providers", str(directory), "--host", "LLM.internal.", "--export-to", "app")
    assert result.exit_code == 0
    objects = [f"{each['kind']} {each['metadata']['name']}" for each in yaml.safe_load_all(result.stdout)]
    hosts = ("api.deepseek.com", "b.example", "llm.internal")
    assert objects == [f"{kind} limpet-gateway-{host}" for host in hosts for kind in ("ServiceEntry", "VirtualService")]
    for each in objects:
        assert f"# {each}: " in result.stdout
    assert "# Provider: deepseek\n" in result.stdout
    assert "bad is left out: spec.url" in result.stderr


def test_it_prints_the_same_each_time(directory: Path) -> None:
    assert run("--providers", str(directory)).stdout == run("--providers", str(directory)).stdout


def test_where_the_gateway_is_decides_names_and_namespaces(directory: Path) -> None:
    flags = ("--gateway-namespace", "ai", "--release", "prod", "--gateway-port", "8080")
    objects = list(yaml.safe_load_all(run("--providers", str(directory), *flags).stdout))
    assert {each["metadata"]["namespace"] for each in objects} == {"ai"}
    route = objects[1]["spec"]["http"][-1]["route"][0]["destination"]
    assert route == {"host": "prod-limpet-gateway.ai.svc.cluster.local", "port": {"number": 8080}}


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ((), "give either --providers DIR or --from-cluster"),
        (("--providers", "x", "--from-cluster"), "give either --providers DIR or --from-cluster"),
        (("--providers", "x", "--namespace", "a"), "is about a cluster: give --from-cluster"),
        (("--providers", "x", "--kubeconfig", "a"), "is about a cluster: give --from-cluster"),
        (("--providers", "x", "--host", "*.internal"), "is a pattern; name each host"),
        (("--providers", "x", "--host", "http://a"), "is not a host name"),
        (("--providers", "x", "--host", "limpet-gateway"), "is the gateway's own Service"),
        (("--providers", "x", "--host", "limpet-gateway.limpet.svc.cluster.local"), "is the gateway's own Service"),
        (("--providers", "x", "--gateway-namespace", "A"), "A is not a name"),
        (("--providers", "x", "--release", "a.b"), "a.b is not a name"),
        (("--providers", "x", "--export-to", "a/*"), "a/* is not a name"),
        (("--providers", "x", "--gateway-tls-port", "0"), "--gateway-tls-port"),
        (("--providers", "x", "--mode", "ambient"), "--mode"),
        (("--providers", "x", "--egress-gateway-label", "istio=edge"), "name that with --egress-gateway, too"),
        (("--providers", "x", "--egress-gateway", "edge"), "write its name and namespace"),
        (("--providers", "x", "--egress-gateway", "a.b.c"), "write its name and namespace"),
        (("--providers", "x", "--egress-gateway", "a.b", "--egress-gateway-label", "istio"), "is no label"),
        (
            (
                "--providers",
                "x",
                "--egress-gateway",
                "a.b",
                "--mode",
                "sidecar",
                "--app-namespace",
                "a",
                "--ca-file",
                "f",
            ),
            "belongs to mode egress",
        ),
        (("--providers", "x", "--gateway-tls-port", "80"), "is 80, like --gateway-port"),
        (("--providers", "x", "--mode", "sidecar"), "--app-namespace, --ca-file: --mode sidecar needs it, too"),
        (
            ("--providers", "x", "--mode", "sidecar", "--app-namespace", "a"),
            "for --ca-file: --mode sidecar needs it, too",
        ),
        (("--providers", "x", "--ca-file", "ca.crt"), "for --ca-file: is for --mode sidecar alone"),
        (("--providers", "x", "--app-namespace", "a"), "for --app-namespace: is for --mode sidecar alone"),
        (
            ("--providers", "x", "--mode", "sidecar", "--app-namespace", "limpet", "--ca-file", "ca.crt"),
            "limpet is the gateway's own",
        ),
    ],
)
def test_a_wrong_flag_is_named(flags: tuple[str, ...], message: str) -> None:
    result = run(*flags)
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr


def test_with_an_egress_gateway_its_objects_are_printed_too(directory: Path) -> None:
    result = run("--providers", str(directory), "--egress-gateway", "edge.ops", "--egress-gateway-label", "app=edge")
    assert result.exit_code == 0, result.stderr
    objects = list(yaml.safe_load_all(result.stdout))
    opened = [each for each in objects if each["kind"] == "Gateway"]
    assert [each["spec"]["selector"] for each in opened] == [{"app": "edge"}] * 2
    assert {each["metadata"]["labels"].get("limpet.dev/step") for each in objects} == {None, "2"}


def test_a_directory_that_is_not_there_or_has_no_provider_is_named(tmp_path: Path) -> None:
    result = run("--providers", str(tmp_path / "gone"))
    assert result.exit_code == 1
    assert result.stderr.startswith("limpet mesh istio: ")
    assert str(tmp_path / "gone") in result.stderr
    result = run("--providers", str(tmp_path))
    assert (result.exit_code, result.stdout) == (1, "")
    assert f"{tmp_path} has no Provider that could be used" in result.stderr


def test_mode_sidecar_prints_what_sidecars_of_the_applications_are_told(directory: Path, tmp_path: Path) -> None:
    ca = tmp_path / "ca.crt"
    ca.write_bytes(trustme.CA().cert_pem.bytes())
    flags = ("--mode", "sidecar", "--ca-file", str(ca), "--app-namespace", "one", "--app-namespace", "two")
    result = run("--providers", str(directory), *flags)
    assert result.exit_code == 0, result.stderr
    objects = list(yaml.safe_load_all(result.stdout))
    kinds = Counter((each["kind"], each["metadata"]["namespace"]) for each in objects)
    assert kinds == {
        ("ServiceEntry", "limpet"): 4,
        ("VirtualService", "limpet"): 2,
        ("DestinationRule", "limpet"): 3,
        ("EnvoyFilter", "one"): 6,
        ("EnvoyFilter", "two"): 6,
    }
    assert seen_by(objects) == {(".", "one", "two")}
    more = run("--providers", str(directory), *flags, "--export-to", "three")
    assert seen_by(yaml.safe_load_all(more.stdout)) == {(".", "one", "three", "two")}


def seen_by(objects: Iterable[Any]) -> set[tuple[str, ...]]:
    """The namespaces in `exportTo` of all that have it."""
    return {tuple(each["spec"]["exportTo"]) for each in objects if each["kind"] != "EnvoyFilter"}


@pytest.mark.parametrize(
    ("text", "message"), [(None, "can't be read"), (b"\xff", "can't be read"), (b"x", "holds no certificate in PEM")]
)
def test_an_authority_that_is_none_is_named(directory: Path, tmp_path: Path, text: bytes | None, message: str) -> None:
    ca = tmp_path / "ca.crt"
    if text is not None:
        ca.write_bytes(text)
    result = run("--providers", str(directory), "--mode", "sidecar", "--ca-file", str(ca), "--app-namespace", "one")
    assert (result.exit_code, message in result.stderr) == (2, True), result.stderr
