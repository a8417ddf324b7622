"""The delta ADS server and the real Envoy."""

import asyncio
import importlib.util
import json
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as hcm_pb2
from envoy.extensions.transport_sockets.tls.v3 import secret_pb2, tls_pb2
from google.protobuf import duration_pb2
from tests.operator.serve.recorded import Recorded, serving
from tests.waiting import until

from limpet_operator.publish.resource import CLUSTER, LISTENER, ROUTE, SECRET, Resource

SPEC = importlib.util.find_spec("envoy")
BINARY = Path((SPEC.submodule_search_locations or [""])[0] if SPEC else "") / "_bin" / "envoy"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def fetch(port: int, path: str) -> str:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        with error:
            return f"{error.code} {error.read().decode()}"
    except OSError:
        return ""


@contextmanager
def envoy_process(tmp_path: Path, xds_socket: Path, admin_port: int) -> Iterator[None]:
    backoff = {"retry_policy": {"retry_back_off": {"base_interval": "0.05s", "max_interval": "0.2s"}}}
    ads = {
        "api_type": "DELTA_GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": "xds"} | backoff}],
    }
    by_ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    http2 = {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
            "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
            "explicit_http_config": {"http2_protocol_options": {}},
        }
    }
    endpoint = {"endpoint": {"address": {"pipe": {"path": str(xds_socket)}}}}
    bootstrap = {
        "node": {"id": "node-1", "cluster": "test"},
        "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": admin_port}}},
        "dynamic_resources": {"ads_config": ads, "cds_config": by_ads, "lds_config": by_ads},
        "static_resources": {
            "clusters": [
                {
                    "name": "xds",
                    "typed_extension_protocol_options": http2,
                    "load_assignment": {"cluster_name": "xds", "endpoints": [{"lb_endpoints": [endpoint]}]},
                }
            ]
        },
    }
    config = tmp_path / "bootstrap.json"
    config.write_text(json.dumps(bootstrap))
    with (tmp_path / "envoy.log").open("wb") as log:
        process = subprocess.Popen(
            [BINARY, "-c", config, "--concurrency", "1", "--disable-hot-restart", "-l", "info"],
            stdout=log,
            stderr=log,
        )
        try:
            yield
        finally:
            process.kill()
            process.wait()


def cluster(name: str, secret: str | None = None, ca_file: str | None = None, timeout_s: int = 1) -> Resource:
    message = cluster_pb2.Cluster(name=name, connect_timeout=duration_pb2.Duration(seconds=timeout_s))
    message.load_assignment.cluster_name = name
    address = message.load_assignment.endpoints.add().lb_endpoints.add().endpoint.address.socket_address
    address.address, address.port_value = "127.0.0.1", 9
    if secret or ca_file:
        tls = tls_pb2.UpstreamTlsContext()
        validation = tls.common_tls_context
        if secret:
            validation.validation_context_sds_secret_config.name = secret
            source = validation.validation_context_sds_secret_config.sds_config
            source.ads.SetInParent()
            source.resource_api_version = 2
            source.initial_fetch_timeout.seconds = 0
        if ca_file:
            validation.validation_context.trusted_ca.filename = ca_file
        message.transport_socket.name = "envoy.transport_sockets.tls"
        message.transport_socket.typed_config.Pack(tls)
    return Resource(name, CLUSTER, message.SerializeToString())


def secret(name: str, **sources: Any) -> Resource:
    message = secret_pb2.Secret(name=name, validation_context={"trusted_ca": sources})
    return Resource(name, SECRET, message.SerializeToString())


def listener(name: str, port: int) -> Resource:
    manager = hcm_pb2.HttpConnectionManager(stat_prefix=name)
    manager.rds.route_config_name = "main"
    manager.rds.config_source.ads.SetInParent()
    manager.rds.config_source.resource_api_version = 2
    manager.http_filters.add(name="envoy.filters.http.router").typed_config.Pack(router_pb2.Router())
    message = listener_pb2.Listener(name=name)
    message.address.socket_address.address = "127.0.0.1"
    message.address.socket_address.port_value = port
    message.filter_chains.add().filters.add(name="envoy.filters.network.http_connection_manager").typed_config.Pack(
        manager
    )
    return Resource(name, LISTENER, message.SerializeToString())


def routes(body: str) -> Resource:
    message = route_pb2.RouteConfiguration(name="main")
    route = message.virtual_hosts.add(name="all", domains=["*"]).routes.add()
    route.match.prefix = "/"
    route.direct_response.status = 200
    route.direct_response.body.inline_string = body
    return Resource("main", ROUTE, message.SerializeToString())


@pytest.mark.envoy
async def test_the_real_envoy_takes_rejects_reconnects_and_forgets(tmp_path: Path) -> None:
    admin, port = free_port(), free_port()
    xds_socket = tmp_path / "xds.sock"

    async def get(where: int, path: str) -> str:
        return await asyncio.to_thread(fetch, where, path)

    async def until_answer(where: int, path: str, text: str, there: bool = True) -> None:
        async def answers() -> bool:
            return (text in await get(where, path)) == there

        await until(answers)

    roots = str(Path(grpc.__file__).parent / "_cython" / "_credentials" / "roots.pem")
    recorded = Recorded()
    recorded.set_all([cluster("plain"), cluster("tls", "ca"), listener("in", port), routes("one")])
    with envoy_process(tmp_path, xds_socket, admin):
        async with serving(f"unix:{xds_socket}", recorded):
            await until(lambda: SECRET in (recorded.acks.acknowledged("node-1") or {}))
            recorded.server.publish([secret("ca", filename=roots)])  # Without any response Envoy waited for it.
            await until_answer(port, "/", "one")
            await until(lambda: recorded.acked(CLUSTER, "node-1").keys() == {"plain", "tls"})
            assert recorded.acked(SECRET, "node-1").keys() == {"ca"}

            # One bad file: Envoy applies the others of that response. A broken rule: it applies none.
            before = recorded.acked(CLUSTER, "node-1")["plain"]
            recorded.server.publish([cluster("file", ca_file="/nowhere.pem"), cluster("more")])
            await until(lambda: "more" in recorded.acked(CLUSTER, "node-1"))
            await until(lambda: {nack.name for nack in recorded.refused} == {"file"})
            assert "/nowhere.pem" in recorded.nacks[0].message
            recorded.server.publish([cluster("plain", timeout_s=-1), cluster("more", timeout_s=2), cluster("yet")])
            await until(lambda: "yet" in recorded.acked(CLUSTER, "node-1"))
            await until(lambda: {nack.name for nack in recorded.refused} == {"file", "plain"})
            assert "Expected positive duration" in recorded.nacks[1].message
            assert recorded.acked(CLUSTER, "node-1")["plain"] == before
            assert len(recorded.nacks) == 2
            await until_answer(admin, "/clusters", "yet::")

        # The operator starts again: nothing that Envoy has is sent again.
        await until_answer(port, "/", "one")
        again = Recorded()
        async with serving(f"unix:{xds_socket}", again):
            await until(lambda: ROUTE in (again.acks.acknowledged("node-1") or {}))
            good = [cluster("plain"), cluster("tls", "ca"), cluster("more", timeout_s=2), secret("ca", filename=roots)]
            again.set_all([*good, listener("in", port), routes("one")])
            await until_answer(admin, "/clusters", "yet::", there=False)
            await until(lambda: again.acked(CLUSTER, "node-1").keys() == {"plain", "tls", "more"})
            again.server.publish([routes("two")])
            await until_answer(port, "/", "two")
            await until(lambda: again.count("limpet_xds_acks_total", type="RouteConfiguration") == 1)
            assert again.count("limpet_xds_acks_total", type="Cluster") == 1, "only the removal"
            assert again.count("limpet_xds_acks_total", type="Listener") is None
            assert again.count("limpet_xds_nacks_total", type="Cluster") is None

            again.server.publish([], [(CLUSTER, "tls"), (SECRET, "ca")])
            await until_answer(admin, "/clusters", "tls::", there=False)
            await until_answer(port, "/", "two")
