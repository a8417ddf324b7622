"""A subscriber of istiod's that knows which hosts a sidecar is told to route to the gateway."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Final

import grpc
from envoy.config.route.v3 import route_pb2
from envoy.service.discovery.v3 import discovery_pb2

from limpet_lab.kubernetes.istiod import TRUST_DOMAIN

_METHOD: Final = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
_ROUTES: Final = "type.googleapis.com/envoy.config.route.v3.RouteConfiguration"
_PORT: Final = "80"
"""As istiod calls what sidecars do with requests to this port."""


class RoutesToGateway:
    """Takes what istiod sends, and acknowledges it. All methods belong to one event loop."""

    def __init__(self, istiod: str, token: str, namespace: str, gateway: str) -> None:
        """`istiod` is HOST:PORT, `token` of a service account of `namespace`, `gateway` its Service's whole name."""
        self._istiod = istiod
        self._token = token
        self._namespace = namespace
        self._cluster = f"outbound|{_PORT}||{gateway}"
        self._hosts: set[str] = set()
        self._changed = asyncio.Condition()
        self._at_s = 0.0

    async def until(self, host: str, routed: bool, limit_s: float) -> float:
        """When it was told that requests for this host go to the gateway, or do so no more. Raises TimeoutError."""
        async with asyncio.timeout(limit_s), self._changed:
            await self._changed.wait_for(lambda: (host in self._hosts) == routed)
            return self._at_s

    async def run(self) -> None:
        """Until cancelled."""
        unlimited = [("grpc.max_receive_message_length", -1)]
        async with grpc.aio.insecure_channel(self._istiod, options=unlimited) as channel:
            stream = channel.stream_stream(
                _METHOD,
                request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
            )
            requests: asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest] = asyncio.Queue()
            requests.put_nowait(self._first())
            metadata = [("authorization", f"Bearer {self._token}")]
            async for answer in stream(_taken_from(requests), metadata=metadata):
                await self._take(answer)
                requests.put_nowait(_acknowledgement(answer))

    def _first(self) -> discovery_pb2.DeltaDiscoveryRequest:
        request = discovery_pb2.DeltaDiscoveryRequest(type_url=_ROUTES, resource_names_subscribe=[_PORT])
        space, ip = self._namespace, "10.0.0.1"
        request.node.id = f"sidecar~{ip}~app.{space}~{space}.svc.{TRUST_DOMAIN}"
        request.node.cluster = f"app.{space}"
        request.node.metadata.update(
            {
                "NAME": "app",
                "NAMESPACE": space,
                "INSTANCE_IPS": ip,
                "CLUSTER_ID": "Kubernetes",
                "LABELS": {"app": "app"},
            }
        )
        return request

    async def _take(self, answer: discovery_pb2.DeltaDiscoveryResponse) -> None:
        for resource in answer.resources:
            found = route_pb2.RouteConfiguration.FromString(resource.resource.value)
            hosts = {
                domain
                for virtual_host in found.virtual_hosts
                if any(route.route.cluster == self._cluster for route in virtual_host.routes)
                for domain in virtual_host.domains
            }
            async with self._changed:
                self._hosts, self._at_s = hosts, time.perf_counter()
                self._changed.notify_all()


async def _taken_from(
    requests: "asyncio.Queue[discovery_pb2.DeltaDiscoveryRequest]",
) -> AsyncIterator[discovery_pb2.DeltaDiscoveryRequest]:
    while True:
        yield await requests.get()


def _acknowledgement(of: discovery_pb2.DeltaDiscoveryResponse) -> discovery_pb2.DeltaDiscoveryRequest:
    return discovery_pb2.DeltaDiscoveryRequest(type_url=of.type_url, response_nonce=of.nonce)
