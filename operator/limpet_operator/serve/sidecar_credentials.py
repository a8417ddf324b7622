"""The providers' credentials for sidecars of a mesh: delta SDS for those whose service account may have them.

A sidecar keeps what it has got when its stream ends, so it goes on while no operator runs.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection
from typing import Any, Final, Protocol

import grpc
import grpc.aio
from envoy.service.discovery.v3 import discovery_pb2

from limpet_operator.publish.envoy_settings import SERVING_SECRET
from limpet_operator.publish.resource import SECRET
from limpet_operator.serve.delta import DeltaStream, ResourceSet
from limpet_operator.serve.tasks import OpenStreams
from limpet_operator.serve.token_review import TokenRefusedError, Workload
from limpet_operator.serve.xds_server import XdsServer
from limpet_operator.sources.kube_error import ApiError

_log = logging.getLogger(__name__)

STREAM_S: Final = 3600.0
"""How long one stream lasts: for the next one its token counts anew."""
_MOST_LOGGED: Final = 256
_SCHEME: Final = "bearer "
_NOT_YOURS: Final = "there are no credentials here for this client"


class FindWorkload(Protocol):
    """Tells whose a token is."""

    async def workload(self, token: str) -> Workload:
        """Raises TokenRefusedError, and ApiError if nobody can say."""


class SidecarCredentials:
    """Serves the secrets of what is published, and nothing else. All methods belong to the event loop that serves."""

    def __init__(
        self, xds: XdsServer, tokens: FindWorkload, namespaces: Collection[str], stream_s: float = STREAM_S
    ) -> None:
        """`namespaces`: of the service accounts that may have them."""
        self._xds = xds
        self._tokens = tokens
        self._namespaces = frozenset(namespaces)
        self._stream_s = stream_s
        self._open = OpenStreams()
        self._last = ResourceSet(), ResourceSet()
        """What was published, and what of it is given."""
        self._logged: dict[str, None] = {}

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """The SDS service for `serve`; delta only."""
        method = grpc.stream_stream_rpc_method_handler(
            self._serve,
            request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString,
            response_serializer=discovery_pb2.DeltaDiscoveryResponse.SerializeToString,
        )
        return grpc.method_handlers_generic_handler(
            "envoy.service.secret.v3.SecretDiscoveryService", {"DeltaSecrets": method}
        )

    def close(self) -> None:
        """End every stream in good order; for just before the server's `stop(grace)`."""
        self._open.close()

    async def _serve(self, requests: AsyncIterator[Any], context: Any) -> None:
        await self._admit(context)
        stream = DeltaStream()
        with self._xds.following(stream) as wake:
            async with self._open.beside(self._read(requests, stream, wake), grpc.RpcError) as reader:
                reader.add_done_callback(lambda _: wake.set())
                ending = asyncio.get_running_loop().call_later(self._stream_s, reader.cancel)
                try:
                    while not reader.done():
                        wake.clear()
                        while self._xds.published and (response := stream.next_response(self._given())):
                            await context.write(response)
                        await wake.wait()
                finally:
                    ending.cancel()

    async def _read(self, requests: AsyncIterator[Any], stream: DeltaStream, wake: asyncio.Event) -> None:
        async for request in requests:
            if request.type_url != SECRET:
                return  # there are only secrets here
            report = stream.on_request(request, self._given())
            if report.message is not None:
                self._log_once(f"a sidecar rejects credentials: {report.message}")
            wake.set()

    def _given(self) -> ResourceSet:
        """All but the gateway's own key, with which a sidecar could pass for it."""
        published = self._xds.resources
        if self._last[0] is not published:
            self._last = published, published.updated((), [(SECRET, SERVING_SECRET)])[0]
        return self._last[1]

    async def _admit(self, context: Any) -> None:
        """Nobody else learns even whether there is a secret of a name."""
        try:
            workload = await self._tokens.workload(_token(context))
        except TokenRefusedError as error:
            self._log_once(f"refused credentials to a client: {error}")
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, _NOT_YOURS)
            return
        except ApiError as error:
            self._log_once(f"can't tell whether a sidecar may have credentials: {error}")
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the API server does not say whose the token is")
            return
        if workload.namespace not in self._namespaces:
            self._log_once(
                f"refused credentials to the service account {workload.name} of the namespace {workload.namespace}, "
                "which is none of --sidecar-namespace"
            )
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, _NOT_YOURS)

    def _log_once(self, words: str) -> None:
        """A refused client tries again every few seconds."""
        if words in self._logged:
            return
        if len(self._logged) >= _MOST_LOGGED:
            del self._logged[next(iter(self._logged))]
        self._logged[words] = None
        _log.warning("%s", words)


def _token(context: Any) -> str:
    for key, value in context.invocation_metadata() or ():
        if key == "authorization" and isinstance(value, str) and value[: len(_SCHEME)].lower() == _SCHEME:
            return value[len(_SCHEME) :].strip()
    return ""
