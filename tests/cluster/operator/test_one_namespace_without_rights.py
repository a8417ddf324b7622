"""One of the served namespaces gives the operator no rights: from the start, because it does not exist, or later on."""

from pathlib import Path

import pytest
from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator
from tests.cluster.operator.test_rights import OURS

from limpet_lab.kubernetes.apiserver import ApiServer


def grant_all(server: ApiServer, account: str, namespace: str) -> None:
    for role, resources in (("objects", OURS), ("secrets", "secrets")):
        server.kubectl("create", "role", role, "--verb=get,list,watch", f"--resource={resources}", "-n", namespace).ok()
        server.kubectl(
            "create", "rolebinding", role, f"--role={role}", f"--serviceaccount={account}:operator", "-n", namespace
        ).ok()


def account(server: ApiServer, namespace: str) -> Path:
    server.kubectl("create", "serviceaccount", "operator", "-n", namespace).ok()
    grant_all(server, namespace, namespace)
    server.apply(provider("p0"), secret("p0"), namespace=namespace).ok()
    return server.kubeconfig_of(namespace, "operator")


@pytest.mark.parametrize("other_exists", [True, False], ids=["no rights", "no such namespace"])
async def test_the_namespaces_that_can_be_read_are_served(
    apiserver: ApiServer, namespace: str, tmp_path: Path, other_exists: bool
) -> None:
    kubeconfig = account(apiserver, namespace)
    other = apiserver.namespace() if other_exists else "nowhere"
    flags = ("--namespace", namespace, "--namespace", other)
    with Operator.running(apiserver, tmp_path / "op", *flags, kubeconfig=kubeconfig) as operator:
        assert f"namespace {other} cannot be read" in await operator.until_logged("cannot list resource")
        async with Gateway().connected(operator.address) as gateway:
            await gateway.until(lambda g: f"{namespace}/p0" in g.providers)
            await operator.answers("/readyz", 200, f"namespace {other} is left out")
            await operator.answers("/metrics", 200, "limpet_unreadable_namespaces 1.0")
            if other_exists:
                grant_all(apiserver, namespace, other)
                apiserver.apply(provider("p1"), secret("p1"), namespace=other).ok()
                await gateway.until(lambda g: g.providers == {f"{namespace}/p0", f"{other}/p1"})
                await operator.answers("/metrics", 200, "limpet_unreadable_namespaces 0.0")


async def test_a_right_that_is_lost_later_costs_the_others_nothing(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    kubeconfig, other = account(apiserver, namespace), apiserver.namespace()
    grant_all(apiserver, namespace, other)
    flags = ("--namespace", namespace, "--namespace", other)
    with Operator.running(apiserver, tmp_path / "op", *flags, kubeconfig=kubeconfig) as operator:
        await operator.ready()
        async with Gateway().connected(operator.address) as gateway:
            await gateway.until(lambda g: f"{namespace}/p0" in g.providers)
            apiserver.kubectl("delete", "rolebinding", "objects", "secrets", "-n", other).ok()
            await operator.until_logged("cannot list resource")
            apiserver.apply(provider("p1"), secret("p1"), namespace=namespace).ok()
            await gateway.until(lambda g: f"{namespace}/p1" in g.providers)
            apiserver.kubectl("delete", "provider", "p1", "-n", namespace).ok()
            await gateway.until(lambda g: f"{namespace}/p1" not in g.providers)
            await operator.answers("/readyz", 200)
