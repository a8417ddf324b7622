"""With which rights the operator gets by, and what it leaves in the objects it watches."""

from pathlib import Path

from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator

from limpet_lab.kubernetes.apiserver import ApiServer

OURS = "providers.limpet.dev,pricings.limpet.dev,healthprobes.limpet.dev,stickypolicies.limpet.dev"


def grant(server: ApiServer, namespace: str, role: str, resources: str, *names: str) -> None:
    account = f"--serviceaccount={namespace}:operator"
    only = [f"--resource-name={name}" for name in names]
    verbs = "--verb=get,list,watch"
    server.kubectl("create", "role", role, verbs, f"--resource={resources}", *only, "-n", namespace).ok()
    server.kubectl("create", "rolebinding", role, f"--role={role}", account, "-n", namespace).ok()


async def test_rights_that_are_missing_are_named_and_those_to_single_secrets_are_enough(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    apiserver.kubectl("create", "serviceaccount", "operator", "-n", namespace).ok()
    apiserver.apply(provider("p0"), secret("p0"), namespace=namespace).ok()
    kubeconfig = apiserver.kubeconfig_of(namespace, "operator")
    with Operator.running(apiserver, tmp_path / "op", "--namespace", namespace, kubeconfig=kubeconfig) as operator:
        await operator.answers("/readyz", 503, "cannot list resource")
        grant(apiserver, namespace, "objects", OURS)
        await operator.ready()
        message = await operator.until_logged("Limpet may not read it")
        assert f"grant get, list and watch on secrets in namespace {namespace}" in message
        async with Gateway().connected(operator.address) as gateway:
            grant(apiserver, namespace, "secret", "secrets", "p0")
            await gateway.until(lambda g: g.providers == {f"{namespace}/p0"})
            apiserver.apply(secret("p0", key="sk-new"), namespace=namespace).ok()
            await gateway.until(lambda g: "Bearer sk-new" in g.keys.values())


async def test_nothing_is_left_in_objects_that_could_hold_them_up(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    apiserver.kubectl("create", "-n", namespace, "-f", "-", input=str(provider("p0")).replace("'", '"')).ok()
    with Operator.running(apiserver, tmp_path / "op", "--namespace", namespace) as operator:
        await operator.ready()
        found = apiserver.get("provider", "p0", "-n", namespace)
        assert "finalizers" not in found["metadata"]
        assert "annotations" not in found["metadata"]
        assert "status" not in found, "without a Lease nothing is written"
    apiserver.kubectl("delete", "provider", "p0", "-n", namespace, "--timeout=10s").ok()


async def test_a_namespace_that_is_not_named_is_not_served(
    apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    others = [apiserver.namespace(), apiserver.namespace()]
    for each in (namespace, *others):
        apiserver.apply(provider("p0"), secret("p0", key=f"sk-{each}"), namespace=each).ok()
    flags = [flag for each in (namespace, others[0]) for flag in ("--namespace", each)]
    with Operator.running(apiserver, tmp_path / "op", *flags) as operator:
        await operator.ready()
        async with Gateway().connected(operator.address) as gateway:
            await gateway.until(lambda g: len(g.keys) == 2)
            assert gateway.keys == {
                f"limpet/credential/{each}/p0": f"Bearer sk-{each}" for each in (namespace, others[0])
            }
