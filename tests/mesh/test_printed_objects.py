"""What `limpet mesh istio` prints: the real API server takes all of it, Istio's CRDs know every field, theirs stays."""

import asyncio
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
import yaml

from limpet_lab.kubernetes import assets, mesh_assets
from limpet_lab.kubernetes.apiserver import ApiServer, KubectlResult

pytestmark = pytest.mark.slow

EXAMPLES = Path(__file__).parents[2] / "examples"
PROVIDER: dict[str, Any] = {
    "apiVersion": "limpet.dev/v1alpha1",
    "kind": "Provider",
    "spec": {"vendor": "Custom", "url": "https://own.example/v1", "models": [{"name": "m"}]},
}
PROVIDERS = yaml.safe_dump_all(
    [
        {
            "apiVersion": "limpet.dev/v1alpha1",
            "kind": "Provider",
            "metadata": {"name": name},
            "spec": {"vendor": "Custom", "url": url, "models": [{"name": "m"}], **more},
        }
        for name, url, more in (
            ("plain", "https://plain.example/v1", {}),
            ("same", "https://plain.example/other/path", {}),
            ("port", "http://port.example:8000", {}),
            ("address", "https://192.0.2.7/v1", {}),
            ("address6", "http://[2001:db8::7]:8080/v1", {}),
            ("service", "http://vllm.models.svc:8000/v1", {}),
            ("proxied", "https://proxied.example/v1", {"proxy": {"url": "http://proxy.example:3128"}}),
            ("private", "https://private.example/v1", {"tls": {"serverName": "other.example"}}),
        )
    ]
)


@pytest.fixture(scope="module")
def with_crds(apiserver: ApiServer) -> ApiServer:
    """The API server, which knows Istio's kinds."""
    crds = str(mesh_assets.find(os.environ).istio_crds)
    apiserver.kubectl("apply", "--server-side", "--filename", crds).ok()
    apiserver.wait_established()
    return apiserver


@pytest.fixture
def old(tmp_path: Path) -> Iterator[ApiServer]:
    """An API server of its own with CRDs of an Istio of before v1, which lack a field."""
    crds = [each for each in yaml.safe_load_all(mesh_assets.find(os.environ).istio_crds.read_text()) if each]
    wanted = []
    for crd in crds:
        if crd["spec"]["names"]["kind"] not in ("ServiceEntry", "VirtualService"):
            continue
        (beta,) = (each for each in crd["spec"]["versions"] if each["name"] == "v1beta1")
        beta["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"].pop("exportTo")
        crd["spec"]["versions"] = [{**beta, "storage": True}]
        wanted.append(crd)
    directory = tmp_path / "old"
    directory.mkdir()
    with ApiServer.running(assets.find(os.environ), directory) as server:
        server.install_crds()
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": wanted})
        server.kubectl("apply", "--server-side", "--filename", "-", input=text).ok()
        server.wait_established()
        yield server


async def run(server: ApiServer, *flags: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "limpet_operator.cli", "mesh", "istio", *flags),
        env={**os.environ, "KUBECONFIG": str(server.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


def apply(server: ApiServer, text: str) -> KubectlResult:
    """Server-side apply, which takes no field that a CRD does not know."""
    for namespace in sorted({each["metadata"]["namespace"] for each in yaml.safe_load_all(text)}):
        server.kubectl("create", "namespace", namespace)
    return server.kubectl("apply", "--server-side", "--filename", "-", input=text)


@pytest.mark.parametrize(
    "tls",
    [(), ("--gateway-tls-port", "443"), ("--egress-gateway", "istio-egressgateway.istio-system")],
    ids=["http", "tls", "edge"],
)
async def test_istios_crds_know_all_that_is_printed(with_crds: ApiServer, tmp_path: Path, tls: tuple[str, ...]) -> None:
    (tmp_path / "providers.yaml").write_text(PROVIDERS)
    status, out, error = await run(
        with_crds, "--providers", str(tmp_path), "--host", "llm.internal", "--export-to", "app", *tls
    )
    assert status == 0, error
    applied = apply(with_crds, out).ok()
    assert applied.count("serverside-applied") == len(list(yaml.safe_load_all(out))) > 12


async def test_every_example_can_be_brought_into_a_mesh(with_crds: ApiServer, tmp_path: Path) -> None:
    for file in EXAMPLES.glob("*/provider.yaml"):
        (tmp_path / f"{file.parent.name}.yaml").write_text(file.read_text())
    status, out, error = await run(with_crds, "--providers", str(tmp_path))
    assert status == 0, error
    apply(with_crds, out).ok()


async def test_what_sidecars_are_told_is_taken_with_the_authority_of_each_provider(
    with_crds: ApiServer, tmp_path: Path
) -> None:
    place, apps = with_crds.namespace("providers"), with_crds.namespace("apps")
    authority = trustme.CA().cert_pem.bytes().decode()
    (tmp_path / "ca.crt").write_text(authority)
    with_crds.kubectl("create", "configmap", "corp", "-n", place, f"--from-file={tmp_path / 'ca.crt'}").ok()
    tls = {"caCertificateRef": {"kind": "ConfigMap", "name": "corp", "key": "ca.crt"}}
    lost = {"caCertificateRef": {"kind": "Secret", "name": "gone", "key": "ca.crt"}}
    providers = [
        PROVIDER | {"metadata": {"name": name}, "spec": PROVIDER["spec"] | {"tls": each}}
        for name, each in (("own", tls), ("lost", lost))
    ]
    with_crds.apply(*providers, namespace=place).ok()
    sidecar = ("--mode", "sidecar", "--app-namespace", apps, "--ca-file", str(tmp_path / "ca.crt"))
    status, out, error = await run(with_crds, "--from-cluster", "--namespace", place, *sidecar)
    assert status == 0, error
    assert f"note: namespace {apps} has neither istio-injection=enabled nor istio.io/rev" in error
    assert f"note: {place}/lost is left out: key ca.crt of Secret gone with its authority could not be read" in error
    apply(with_crds, out).ok()
    found = with_crds.get("envoyfilters.networking.istio.io", "-n", apps)["items"]
    names = {each["metadata"]["name"] for each in found}
    own = f"limpet-gateway-own.{place}.providers.limpet.internal"
    assert names == {"limpet-gateway-workers", "limpet-gateway-program-80", own, f"{own}-routes"}


def foreign(namespace: str, host: str, kind: str = "VirtualService", **spec: Any) -> str:
    routes = {"http": [{"route": [{"destination": {"host": "elsewhere.example"}}]}]} if kind != "ServiceEntry" else {}
    metadata = {"name": "theirs", "namespace": namespace}
    body = {"hosts": [host], **routes, **spec}
    return json.dumps({"apiVersion": "networking.istio.io/v1", "kind": kind, "metadata": metadata, "spec": body})


async def test_what_somebody_else_routes_is_said_and_stays(with_crds: ApiServer, tmp_path: Path) -> None:
    place, theirs = with_crds.namespace("providers"), with_crds.namespace("theirs")
    with_crds.kubectl("apply", "--namespace", place, "--filename", "-", input=PROVIDERS).ok()
    entry = foreign(
        theirs, "port.example", "ServiceEntry", ports=[{"number": 8000, "name": "http", "protocol": "HTTP"}]
    )
    for text in (foreign(theirs, "Plain.example"), entry):
        with_crds.kubectl("apply", "--filename", "-", input=text).ok()
    before = with_crds.get("virtualservice", "theirs", "-n", theirs)
    try:
        status, out, error = await run(with_crds, "--from-cluster", "--namespace", place)
        assert status == 1
        hosts = {(each["kind"], host) for each in yaml.safe_load_all(out) for host in each["spec"]["hosts"]}
        assert f"conflict: plain.example: VirtualService {theirs}/theirs routes it already" in error
        assert f"conflict: port.example: ServiceEntry {theirs}/theirs makes it known already" in error
        assert {kind for kind, host in hosts if host == "plain.example"} == set()
        assert {kind for kind, host in hosts if host == "port.example"} == {"VirtualService"}
        assert {kind for kind, host in hosts if host == "private.example"} == {"ServiceEntry", "VirtualService"}
        apply(with_crds, out).ok()
        assert with_crds.get("virtualservice", "theirs", "-n", theirs) == before
    finally:
        for kind in ("virtualservice", "serviceentry"):
            with_crds.kubectl("delete", "--namespace", theirs, kind, "theirs").ok()


async def test_a_namespace_without_injection_is_named_in_either_mode(with_crds: ApiServer, tmp_path: Path) -> None:
    place = with_crds.namespace("providers")
    with_crds.kubectl("apply", "--namespace", place, "--filename", "-", input=PROVIDERS).ok()
    ca, labels = tmp_path / "ca.crt", ("istio-injection=enabled", "istio-injection=disabled", "team=shop")
    ca.write_bytes(trustme.CA().cert_pem.bytes())
    good, off, silent = (with_crds.namespace("apps") for _ in labels)
    for name, label in zip((good, off, silent), labels, strict=True):
        with_crds.kubectl("label", "namespace", name, label).ok()
    for flag, more in (("--export-to", ()), ("--app-namespace", ("--mode", "sidecar", "--ca-file", str(ca)))):
        namespaces = [word for name in (good, off, silent) for word in (flag, name)]
        status, out, error = await run(with_crds, "--from-cluster", "--namespace", place, *namespaces, *more)
        assert (status, bool(out)) == (0, True), error
        assert f"note: namespace {off} gets no sidecars (istio-injection=disabled)" in error
        assert f"note: namespace {silent} has neither istio-injection=enabled nor istio.io/rev" in error
        assert f"namespace {good}" not in error


async def test_an_older_istio_gets_its_version_and_names_what_it_does_not_know(old: ApiServer) -> None:
    status, _, error = await run(old, "--from-cluster")
    assert (status, "the cluster has no Provider that could be used" in error) == (1, True), error
    old.kubectl("apply", "--filename", "-", input=PROVIDERS).ok()
    status, out, error = await run(old, "--from-cluster")
    assert status == 0, error
    assert {each["apiVersion"] for each in yaml.safe_load_all(out)} == {"networking.istio.io/v1beta1"}
    refused = apply(old, out).refused().splitlines()
    assert len(refused) == len(list(yaml.safe_load_all(out)))
    assert all(line.endswith(".spec.exportTo: field not declared in schema") for line in refused)


async def test_a_cluster_without_istio_is_told_of(tmp_path: Path) -> None:
    directory = tmp_path / "none"
    directory.mkdir()
    with ApiServer.running(assets.find(os.environ), directory) as server:
        server.install_crds()
        server.kubectl("apply", "--filename", "-", input=PROVIDERS).ok()
        status, out, error = await run(server, "--from-cluster")
        assert status == 0
        assert "note: the cluster has no CRDs of Istio: nothing of this can be applied there yet" in error
        assert {each["apiVersion"] for each in yaml.safe_load_all(out)} == {"networking.istio.io/v1"}
