"""The operator's service of credentials, asked as a sidecar asks it."""

from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from limpet_operator.publish.resource import SECRET

_METHOD = "/envoy.service.secret.v3.SecretDiscoveryService/DeltaSecrets"


@dataclass(frozen=True, slots=True)
class Sds:
    """Where it is."""

    target: str
    ca_pem: bytes
    name: str
    """In its certificate."""

    async def secrets(self, token: str) -> list[str]:
        """The names of the secrets that are given to who shows this token. Raises AioRpcError."""
        credentials = grpc.ssl_channel_credentials(self.ca_pem)
        async with channel(self.target, credentials, self.name) as opened:
            call = opened.stream_stream(
                _METHOD,
                request_serializer=discovery_pb2.DeltaDiscoveryRequest.SerializeToString,
                response_deserializer=discovery_pb2.DeltaDiscoveryResponse.FromString,
            )(metadata=[("authorization", f"Bearer {token}")], timeout=20)
            await call.write(discovery_pb2.DeltaDiscoveryRequest(type_url=SECRET, resource_names_subscribe=["*"]))
            answer = await call.read()
            call.cancel()
            return [each.name for each in answer.resources]


def channel(target: str, credentials: grpc.ChannelCredentials, name: str) -> Any:
    """To a server whose certificate carries that name."""
    options = [("grpc.ssl_target_name_override", name), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.secure_channel(target, credentials, options)
