"""A plain Envoy as Istio's sidecar: its bootstrap, the redirection of a pod's connections, and its process.

Istio's own sidecar is a build of Envoy with further filters; istiod is told not to send them (`Istiod`). Its bootstrap
is written by Istio's agent, which nobody has as a Python package; this one has the same node, clusters and paths.
"""

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import aiohttp
from tests.cluster.pods import Mount, Pod
from tests.waiting import until

from limpet_lab.kubernetes.istiod import TRUST_DOMAIN
from limpet_lab.kubernetes.program import Program
from limpet_operator.laptop.machine import envoy_command

OUTBOUND: Final = 15001
INBOUND: Final = 15006
TOKEN_FILE: Final = "/var/run/secrets/tokens/istio-token"
_ISTIO_VERSION: Final = "1.31.0"
_MARK: Final = 1337
_SOL_SOCKET: Final = 1
_SO_MARK: Final = 36
_HTTP2: Final = {
    "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        "explicit_http_config": {"http2_protocol_options": {}},
    }
}
_REDIRECTION: Final = """\
table ip istio {{
  chain output {{
    type nat hook output priority -100
    meta mark {mark} return
    oifname "lo" return
    {past}
    meta l4proto tcp redirect to :{outbound}
  }}
  chain prerouting {{
    type nat hook prerouting priority -100
    {open}
    meta l4proto tcp redirect to :{inbound}
  }}
}}
"""


@dataclass(frozen=True, slots=True)
class Node:
    """Whose sidecar it is, as istiod is told."""

    pod: str
    namespace: str
    ip: str
    account: str
    labels: Mapping[str, str]
    at_edge: bool = False
    """Whether it is a gateway of Istio's, which stands alone."""

    def as_json(self) -> dict[str, Any]:
        """In the words of Istio's agent."""
        kind = "router" if self.at_edge else "sidecar"
        return {
            "id": f"{kind}~{self.ip}~{self.pod}.{self.namespace}~{self.namespace}.svc.{TRUST_DOMAIN}",
            "cluster": f"{self.labels.get('app', self.pod)}.{self.namespace}",
            "metadata": {
                "NAME": self.pod,
                "NAMESPACE": self.namespace,
                "INSTANCE_IPS": self.ip,
                "SERVICE_ACCOUNT": self.account,
                "LABELS": dict(self.labels),
                "CLUSTER_ID": "Kubernetes",
                "ISTIO_VERSION": _ISTIO_VERSION,
                "INTERCEPTION_MODE": "REDIRECT",
                "MESH_ID": TRUST_DOMAIN,
            },
        }


def bootstrap(node: Node, istiod: str, token: str, identity_socket: Path, admin_socket: Path) -> dict[str, Any]:
    """What Istio's agent would write for it. `istiod` is HOST:PORT, `token` what it shows there."""
    host, _, port = istiod.rpartition(":")
    xds = {"socket_address": {"address": host, "port_value": int(port)}}
    ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    mark = {"level": _SOL_SOCKET, "name": _SO_MARK, "int_value": _MARK, "state": "STATE_PREBIND"}
    return {
        "node": node.as_json(),
        "admin": {"address": {"pipe": {"path": str(admin_socket)}}},
        # Istio tells the sidecar's own connections by its user; all processes of a test have the same one.
        "cluster_manager": {"upstream_bind_config": {"socket_options": [mark]}},
        "dynamic_resources": {
            "lds_config": ads,
            "cds_config": ads,
            "ads_config": {
                "api_type": "DELTA_GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [
                    {
                        "envoy_grpc": {"cluster_name": "xds-grpc"},
                        "initial_metadata": [{"key": "authorization", "value": f"Bearer {token}"}],
                    }
                ],
            },
        },
        "static_resources": {
            "clusters": [_cluster("xds-grpc", xds), _cluster("sds-grpc", {"pipe": {"path": str(identity_socket)}})]
        },
    }


def _cluster(name: str, address: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": _HTTP2,
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
    }


def redirect(pod: Pod, not_from: Sequence[int] = (), not_to: Sequence[int] = ()) -> None:
    """Bring the pod's connections to its sidecar, as Istio's init container does.

    `not_from`: ports that others reach without it (`traffic.sidecar.istio.io/excludeInboundPorts`); `not_to`: ports of
    others that are reached without it (`excludeOutboundPorts`).
    """
    rules = _REDIRECTION.format(
        mark=_MARK, outbound=OUTBOUND, inbound=INBOUND, past=_left_alone(not_to), open=_left_alone(not_from)
    )
    done = subprocess.run(
        ["ip", "netns", "exec", pod.name, "nft", "--file", "-"],
        input=rules,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise OSError(f"nft: {done.stderr.strip()}")


def _left_alone(ports: Sequence[int]) -> str:
    return f"tcp dport {{ {', '.join(map(str, ports))} }} return" if ports else ""


@dataclass(frozen=True, slots=True)
class Sidecar:
    """The running Envoy."""

    program: Program
    admin_socket: Path

    @classmethod
    def prepared(cls, pod: Pod, config: Mapping[str, Any], token: str, directory: Path) -> "Sidecar":
        """The Envoy of this bootstrap, which is still to be started; it finds its token where Istio's sidecars do."""
        file, token_file = directory / "envoy.json", directory / "istio-token"
        file.write_text(json.dumps(config))
        token_file.write_text(token)
        command = pod.command(
            envoy_command(file, "--concurrency", "1"), [Mount(TOKEN_FILE, token_file, read_only=True)]
        )
        admin = Path(config["admin"]["address"]["pipe"]["path"])
        return cls(Program(f"sidecar of {pod.name}", command, directory / "envoy.log"), admin)

    async def ready(self) -> None:
        """Return when it takes connections of the pod."""

        async def listening() -> bool:
            assert self.program.alive(), self.program.log_tail()
            found = await self.page("/listeners")
            return f":{OUTBOUND}\n" in found and f":{INBOUND}\n" in found

        await self.until(listening, "listening")

    async def live(self) -> None:
        """Return when it has its first configuration, whether or not that has a listener."""

        async def so() -> bool:
            assert self.program.alive(), self.program.log_tail()
            return await self.page("/ready") == "LIVE\n"

        await self.until(so, "live")

    async def page(self, path: str) -> str:
        """A page of its admin interface, empty while it doesn't answer."""
        try:
            async with (
                aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(self.admin_socket))) as session,
                session.get(f"http://envoy{path}") as response,
            ):
                return await response.text()
        except aiohttp.ClientError:
            return ""

    async def stat(self, name: str) -> int:
        """One of its counters or gauges; 0 for what doesn't exist."""
        for line in (await self.page(f"/stats?filter=^{name}$")).splitlines():
            return int(line.rpartition(": ")[2])
        return 0

    async def requests(self, cluster: str) -> int:
        """How many requests it sent on to a cluster."""
        found = [line for line in (await self.page("/clusters")).splitlines() if line.startswith(f"{cluster}::")]
        return sum(int(line.rpartition("::")[2]) for line in found if "::rq_total::" in line)

    async def connections(self, cluster: str) -> int:
        """How many connections it opened to a cluster."""
        found = [line for line in (await self.page("/clusters")).splitlines() if line.startswith(f"{cluster}::")]
        return sum(int(line.rpartition("::")[2]) for line in found if "::cx_total::" in line)

    async def knows(self, name: str) -> None:
        """Return when its configuration has these words, such as the name of a cluster."""

        async def has() -> bool:
            return name in await self.page("/config_dump?include_eds")

        await self.until(has, f"{name} in its configuration")

    async def forgets(self, name: str) -> None:
        """Return when it hasn't any more."""

        async def has_not() -> bool:
            return name not in (await self.page("/config_dump?include_eds") or name)

        await self.until(has_not, f"{name} gone from its configuration")

    async def until(self, condition: Any, what: str) -> None:
        """`until`, with the end of its log in the message of a failure."""
        try:
            await until(condition, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.program.name}:\n{self.program.log_tail()}") from None

    async def refused(self) -> int:
        """How many updates from istiod it could not take."""
        names = ("cluster_manager.cds.update_rejected", "listener_manager.lds.update_rejected")
        return sum([await self.stat(name) for name in names])
