"""Whatever people apply: each object's conditions say what to do about it, and everybody else is served."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import yaml
from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator

from limpet_lab.kubernetes.apiserver import ApiServer

PATIENCE_S = 60.0
LONGEST = "x" * 253
HUGE = "h" * 900_000


def object_of(kind: str, name: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": "limpet.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def configmap(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def with_ca(name: str, **ref: str) -> dict[str, Any]:
    return provider(name, tls={"caCertificateRef": {"name": name, "key": "ca.crt", **ref}})


def binary(name: str) -> dict[str, Any]:
    return {**secret(name), "stringData": {}, "data": {"key": "/w=="}}


def prices(model: str) -> list[dict[str, Any]]:
    return [{"name": model, "perMillionTokens": {"input": "1", "output": "2"}}]


OBJECTS = [
    *(provider("good"), secret("good", key="sk-good\n")),
    provider("no-secret"),
    *(provider("no-key"), secret("no-key", other="sk")),
    *(provider("not-utf8"), binary("not-utf8")),
    *(provider("newline"), secret("newline", key="sk-1\nsk-2")),
    *(provider("empty"), secret("empty", key="\n")),
    *(provider("bearer"), secret("bearer", key="Bearer sk")),
    provider("variable", credential={"env": "PATH"}),
    *(with_ca("no-ca"), secret("no-ca")),
    *(with_ca("not-pem"), secret("not-pem"), configmap("not-pem", **{"ca.crt": "a certificate, I swear"})),
    *(with_ca("huge-ca"), secret("huge-ca"), configmap("huge-ca", **{"ca.crt": HUGE})),
    *(provider("huge-secret"), secret("huge-secret", key="sk-small", more=HUGE)),
    *(provider(LONGEST), secret(LONGEST)),
    object_of("Pricing", "early", providerRef={"name": "later"}, models=prices("flash")),
    object_of("Pricing", "twice", providerRef={"name": "good"}, models=prices("flash")),
    object_of("Pricing", "twice-more", providerRef={"name": "good"}, models=prices("flash")),
    object_of("Pricing", "typo", providerRef={"name": "good"}, models=prices("flsh")),
    object_of("HealthProbe", "nothing", providerSelector={"matchLabels": {"teir": "1"}}, http={"path": "/models"}),
    object_of("HealthProbe", "unknown", providerRefs=[{"name": "god"}], http={"path": "/models"}),
    object_of("StickyPolicy", "a", models=["flash"]),
    object_of("StickyPolicy", "b", models=["flash"]),
]

STORED_PAST_VALIDATION = [
    object_of("Provider", "ancient", vendor="DeepSeek", url="ftp://example.com", weight="heavy", colour="blue"),
    object_of("StickyPolicy", "ancient", mode="Sometimes"),
]

EXPECTED = [
    ("provider", "no-secret", "ResolvedRefs", "SecretNotFound", "there is no Secret no-secret in namespace"),
    ("provider", "no-key", "ResolvedRefs", "SecretKeyNotFound", "Secret no-key has no key key (it has: other); add it"),
    ("provider", "not-utf8", "ResolvedRefs", "SecretValueInvalid", "is not UTF-8; store the API key as plain text"),
    ("provider", "newline", "ResolvedRefs", "SecretValueInvalid", "contains a line break or control character"),
    ("provider", "empty", "ResolvedRefs", "SecretValueInvalid", "is empty; store the API key"),
    ("provider", "bearer", "ResolvedRefs", "SecretValueInvalid", "begins with Bearer, which is added anyway"),
    ("provider", "variable", "ResolvedRefs", "EnvVarNotSet", "environment variable PATH is not set"),
    ("provider", "no-ca", "ResolvedRefs", "CACertificateNotFound", "there is no ConfigMap no-ca in namespace default"),
    ("provider", "not-pem", "ResolvedRefs", "CACertificateInvalid", "ConfigMap not-pem is not a PEM certificate"),
    ("provider", "huge-ca", "ResolvedRefs", "CACertificateInvalid", "is not a PEM certificate"),
    ("provider", "ancient", "Accepted", "Invalid", 'spec.weight: is "heavy"'),
    ("pricing", "early", "ResolvedRefs", "ProviderNotFound", "there is no Provider later in namespace"),
    ("pricing", "twice-more", "Accepted", "Conflicted", "is already priced by Pricing twice, which takes precedence"),
    ("pricing", "typo", "ResolvedRefs", "ModelNotServed", "does not serve flsh; correct the name; did you mean flash?"),
    ("healthprobe", "nothing", "ResolvedRefs", "NothingSelected", "correct spec.providerSelector.matchLabels"),
    ("healthprobe", "unknown", "ResolvedRefs", "ProviderNotFound", "did you mean good?"),
    ("stickypolicy", "b", "Accepted", "Conflicted", '"flash" is already in StickyPolicy a'),
    ("stickypolicy", "ancient", "Accepted", "Invalid", 'spec.mode: "Sometimes" is not known'),
]  # fmt: skip

SERVED = {"good", "huge-secret", LONGEST}


def store_past_validation(server: ApiServer) -> None:
    """As a cluster would hold them whose CRDs were laxer when these were applied."""
    for crd in (Path(__file__).parents[3] / "crds").glob("*.yaml"):
        lax = yaml.safe_load(crd.read_text())
        anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        lax["spec"]["versions"][0]["schema"] = {"openAPIV3Schema": anything}
        server.kubectl("apply", "--server-side", "-f", "-", input=yaml.safe_dump(lax)).ok()
    server.wait_established()
    deadline = time.monotonic() + PATIENCE_S
    while (result := server.apply(*STORED_PAST_VALIDATION)).status:  # the schema takes a moment to be in force
        assert time.monotonic() < deadline, result.err
        time.sleep(0.2)
    server.install_crds()


def condition(server: ApiServer, kind: str, name: str, what: str) -> dict[str, Any]:
    found = server.get(kind, name).get("status", {}).get("conditions", [])
    return next((each for each in found if each["type"] == what), {})


async def settled(server: ApiServer, kind: str, name: str, what: str, reason: str) -> dict[str, Any]:
    """The condition once it has this reason, or whatever it has at last."""
    deadline = time.monotonic() + PATIENCE_S
    while (now := await asyncio.to_thread(condition, server, kind, name, what)).get("reason") != reason:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.2)
    return now


async def test_each_is_told_what_to_do_and_the_others_go_on(
    private_apiserver: Callable[[], AbstractContextManager[ApiServer]], tmp_path: Path
) -> None:
    with private_apiserver() as server:
        await asyncio.to_thread(store_past_validation, server)
        server.kubectl("create", "-f", "-", input=yaml.safe_dump_all(OBJECTS)).ok()
        lease = ("--lease-namespace", "default", "--lease-name", "limpet")
        with Operator.running(server, tmp_path / "op", "--namespace", "default", *lease) as operator:
            await operator.ready()
            async with Gateway().connected(operator.address) as gateway:
                await gateway.until(lambda g: len(g.keys) == len(SERVED))
                assert gateway.providers == SERVED
                assert gateway.keys["limpet/credential/good"] == "Bearer sk-good"
                for kind, name, what, reason, words in EXPECTED:
                    now = await settled(server, kind, name, what, reason)
                    assert (now.get("status"), now.get("reason")) == ("False", reason), (kind, name, now)
                    assert words in now["message"], (kind, name)

                # What was waited for comes, what was wrong is put right.
                later = (provider("later"), secret("later"), secret("no-secret"), secret("newline", key="sk-1"))
                (await asyncio.to_thread(server.apply, *later)).ok()
                await gateway.until(lambda g: g.providers == {*SERVED, "later", "no-secret", "newline"})
                assert (await settled(server, "pricing", "early", "ResolvedRefs", "ResolvedRefs"))["status"] == "True"
        assert not [entry for entry in operator.log() if entry["level"] == "error"]
        everything = operator.program.log.read_text()
        assert "sk-" not in everything, "a key was logged"
