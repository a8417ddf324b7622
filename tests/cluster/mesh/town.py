"""An operator with the chart's own rights, on an API server with or without Istio's CRDs, and the people around it."""

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trustme
from tests.chart.rendered import objects
from tests.cluster.operator.process import Operator
from tests.cluster.status.stage import Stage
from tests.waiting import until

from limpet_lab.kubernetes import mesh_assets
from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_operator.laptop.machine import free_port

RIGHTS = ("ServiceAccount", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "Lease")
GROUP = "networking.istio.io"
PLURALS = {"ServiceEntry": "serviceentries", "VirtualService": "virtualservices"}
ROLE = "{}-limpet-operator-mesh"
KINDS = {"serviceentries": "v1", "virtualservices": "v1", "destinationrules": "v1", "envoyfilters": "v1alpha3"}

Json = dict[str, Any]


class Town(Stage):
    """A namespace with a release of the chart, of which only the operator runs."""

    def install(self, *without: str, sidecars: Sequence[str] = (), **istio: Any) -> None:
        """The release's accounts and rights, but not the roles of these names."""
        values = {"mesh": {"istio": {"enabled": True, **istio}, "sidecars": {"namespaces": [*sidecars]}}}
        found = [
            each
            for each in objects(values, namespace=self.namespace)
            if each["kind"] in RIGHTS and each["metadata"]["name"] not in without
        ]
        for namespace in {each["metadata"].get("namespace", self.namespace) for each in found}:
            here = [each for each in found if each["metadata"].get("namespace", self.namespace) == namespace]
            self.server.apply(*here, namespace=namespace).ok()

    def istio(self, *flags: str, mode: str = "egress") -> Any:
        """The operator as the chart starts it."""
        return Operator.running(
            self.server,
            self.directory / "operator",
            *("--namespace", self.namespace, "--identity", "op"),
            *("--lease-namespace", self.namespace, "--lease-name", "limpet-operator"),
            *("--istio", mode, *flags),
            kubeconfig=self.server.kubeconfig_of(self.namespace, "limpet-operator"),
        )

    def aside(self, apps: str) -> Any:
        """The same in mode sidecar, for the sidecars of this namespace."""
        files = self.directory / "tls"
        if not files.exists():
            files.mkdir()
            authority = trustme.CA()
            own = authority.issue_cert("limpet-operator")
            authority.cert_pem.write_to_path(files / "ca.crt")
            own.private_key_pem.write_to_path(files / "tls.key")
            own.cert_chain_pems[0].write_to_path(files / "tls.crt")
        return self.istio(
            *("--tls-dir", str(files), "--gateway-name", "limpet-gateway"),
            *("--sidecar-namespace", apps, "--credentials", f"127.0.0.1:{free_port()}"),
            *("--istio-role", ROLE.format(self.namespace), "--istio-settle-seconds", "1"),
            mode="sidecar",
        )

    async def all_ours(self, *namespaces: str) -> dict[tuple[str, str, str], Json]:
        """All that the release has written in its own and in these namespaces, by kind, namespace and name."""
        found: dict[tuple[str, str, str], Json] = {}
        for namespace in (self.namespace, *namespaces):
            for plural, version in KINDS.items():
                path = f"/apis/{GROUP}/{version}/namespaces/{namespace}/{plural}"
                listed = await self.get(path + "?labelSelector=app.kubernetes.io/managed-by=limpet")
                found |= {(plural, namespace, each["metadata"]["name"]): each for each in listed["items"]}
        return found

    def install_crds(self, change: Callable[[str], str] = lambda text: text) -> None:
        """Those of Istio."""
        text = change(mesh_assets.find(os.environ).istio_crds.read_text())
        file = self.directory / "istio-crds.yaml"
        file.write_text(text)
        self.server.kubectl("apply", "--server-side", "--force-conflicts", "--filename", str(file)).ok()

    async def ours(self, kind: str) -> dict[str, Json]:
        """The release's objects of this kind, by the host that they are about."""
        path = f"/apis/{GROUP}/v1/namespaces/{self.namespace}/{PLURALS[kind]}"
        found = await self.get(path + "?labelSelector=app.kubernetes.io/managed-by=limpet")
        return {each["spec"]["hosts"][0]: each for each in found["items"]}

    async def until_ours(self, kind: str, *hosts: str) -> dict[str, Json]:
        """The same, once they are about these hosts and no others."""

        async def they_are() -> bool:
            return set(await self.ours(kind)) == set(hosts)

        await until(they_are, timeout_s=30)
        return await self.ours(kind)

    async def message(self, provider: str) -> str:
        status = await self.status("providers", provider)
        return next(each["message"] for each in status["conditions"] if each["type"] == "Meshed")


def theirs(kind: str, name: str, host: str) -> Json:
    """An object of another team's for a host."""
    spec: Json = {"hosts": [host]}
    if kind == "VirtualService":
        spec["http"] = [{"route": [{"destination": {"host": "proxy.other.svc.cluster.local"}}]}]
    else:
        spec |= {"ports": [{"number": 443, "name": "tls", "protocol": "TLS"}], "resolution": "DNS"}
    return {"apiVersion": f"{GROUP}/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}


def town(server: ApiServer, directory: Path) -> Town:
    """A new one on this server."""
    server.install_crds()
    return Town(server, server.namespace(), directory)


async def changes(before: Callable[[], Any], seconds: float) -> bool:
    """Whether what a call gives is another after so long."""
    first = await before()
    await asyncio.sleep(seconds)
    return bool(first != await before())
