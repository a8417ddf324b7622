"""What becomes of a mesh's objects in a real API server, under the rights that the chart grants."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from tests.cluster.mesh.town import GROUP, ROLE, changes, theirs, town
from tests.cluster.operator.objects import provider, secret
from tests.waiting import until

from limpet_lab.kubernetes.apiserver import ApiServer

Server = Callable[[], AbstractContextManager[ApiServer]]
DEEPSEEK, OTHER = "api.deepseek.com", "llm.vendor.example"


async def test_objects_follow_the_providers_and_give_way_to_those_of_others(
    private_apiserver: Server, tmp_path: Path
) -> None:
    with private_apiserver() as server:
        here = town(server, tmp_path)
        here.install()
        await here.apply(provider("alpha"), secret("alpha"))
        with here.istio("--istio-host", "llm.internal") as operator:
            await here.until_condition("alpha", "Meshed", "NoIstio")
            assert len(operator.logged("lacks CRDs of Istio")) == 1
            assert "lacks CRDs of Istio" in await operator.answers("/readyz", 200, "lacks CRDs")

            here.install_crds()
            await here.until_condition("alpha", "Meshed", "Meshed")
            entries = await here.until_ours("ServiceEntry", DEEPSEEK, "llm.internal")
            routes = await here.until_ours("VirtualService", DEEPSEEK, "llm.internal")
            for each in (*entries.values(), *routes.values()):
                (manager,) = each["metadata"]["managedFields"]
                assert (manager["manager"], manager["operation"]) == ("limpet-mesh", "Apply")
                (owner,) = each["metadata"]["ownerReferences"]
                assert (owner["kind"], owner["name"]) == ("Lease", "limpet-operator")
            assert await here.message("alpha") == (
                f"VirtualService {routes[DEEPSEEK]['metadata']['name']} brings its host's requests here"
            )
            assert not await changes(lambda: here.ours("VirtualService"), 2.0)

            await here.apply(provider("alpha", url=f"https://{OTHER}/v1"))
            await here.until_ours("VirtualService", OTHER, "llm.internal")
            await here.until_ours("ServiceEntry", OTHER, "llm.internal")

            await here.apply(theirs("VirtualService", "by-hand", OTHER))
            await here.until_condition("alpha", "Meshed", "Conflicted")
            said = await here.message("alpha")
            assert f"VirtualService {here.namespace}/by-hand routes it already" in said
            assert "remove this host there" in said
            await here.until_ours("VirtualService", "llm.internal")
            await here.until_ours("ServiceEntry", "llm.internal")
            kept = await here.get(f"/apis/{GROUP}/v1/namespaces/{here.namespace}/virtualservices/by-hand")
            assert [each["manager"] for each in kept["metadata"]["managedFields"]] == ["kubectl-client-side-apply"]
            await here.kubectl("delete", "virtualservice", "by-hand")
            await here.until_condition("alpha", "Meshed", "Meshed")

            name = (await here.until_ours("VirtualService", OTHER, "llm.internal"))[OTHER]["metadata"]["name"]
            await here.kubectl("delete", "virtualservice", name)
            await here.until_ours("VirtualService", OTHER, "llm.internal")
        await here.kubectl("delete", "provider", "alpha")
        with here.istio():
            await here.until_ours("VirtualService")
            await here.until_ours("ServiceEntry")


async def test_rights_that_are_missing_and_crds_that_are_old_are_told(
    private_apiserver: Server, tmp_path: Path
) -> None:
    with private_apiserver() as server:
        here = town(server, tmp_path)
        here.install("limpet-operator-mesh", f"{here.namespace}-limpet-operator-mesh")
        here.install_crds(lambda text: text.replace("              exportTo:\n", "              elsewhere:\n"))
        await here.apply(provider("alpha"), secret("alpha"))
        with here.istio():
            await here.until_condition("alpha", "Meshed", "NotPermitted")
            wanted = "grant list and watch on serviceentries, virtualservices of networking.istio.io in all namespaces"
            assert wanted in await here.message("alpha")
            here.install()
            await here.until_condition("alpha", "Meshed", "NotTaken")
            assert ".spec.exportTo: field not declared in schema" in await here.message("alpha")
            here.install_crds()
            # The same is tried again later and later, what a person has changed at once.
            await here.apply(provider("alpha", url=f"https://{OTHER}/v1"))
            await here.until_condition("alpha", "Meshed", "Meshed")


async def test_mode_sidecar_is_written_in_the_applications_namespaces_by_the_rights_of_the_chart(
    private_apiserver: Server, tmp_path: Path
) -> None:
    with private_apiserver() as server:
        here, apps = town(server, tmp_path), server.namespace("apps")
        here.install(sidecars=[apps], mode="sidecar")
        here.install_crds()
        await here.apply(
            provider("alpha"), secret("alpha"), provider("beta", url=f"https://{OTHER}/v1"), secret("beta")
        )
        with here.aside(apps) as operator:
            for name in ("alpha", "beta"):
                await here.until_condition(name, "Meshed", "Meshed")
            assert f"sidecars of {apps} send there by themselves" in await here.message("alpha")
            kept = await here.all_ours(apps)
            owners = {(key[0], each["metadata"]["ownerReferences"][0]["kind"]) for key, each in kept.items()}
            assert owners == {
                ("serviceentries", "Lease"),
                ("virtualservices", "Lease"),
                ("destinationrules", "ServiceEntry"),
                ("destinationrules", "Lease"),
                ("envoyfilters", "Role"),
            }
            # Kubernetes removes what has an owner in another namespace.
            role = await here.get(
                f"/apis/rbac.authorization.k8s.io/v1/namespaces/{apps}/roles/{ROLE.format(here.namespace)}"
            )
            filters = [each for key, each in kept.items() if key[0] == "envoyfilters"]
            assert {each["metadata"]["namespace"] for each in filters} == {apps}
            assert {each["metadata"]["ownerReferences"][0]["uid"] for each in filters} == {role["metadata"]["uid"]}
            assert not await changes(lambda: here.all_ours(apps), 3.0)
            assert not operator.logged("can't be worked out")

            await here.kubectl("delete", "provider", "beta")

            async def beta_is_gone() -> bool:
                return not [key for key in await here.all_ours(apps) if "beta" in key[2] or OTHER in key[2]]

            await until(beta_is_gone, timeout_s=30)
        left = await here.all_ours(apps)
        with here.aside(apps):
            await here.until_condition("alpha", "Meshed", "Meshed")
            assert not await changes(lambda: here.all_ours(apps), 3.0)
            assert await here.all_ours(apps) == left
