"""Writing to the Kubernetes API: the port that status, Lease and Events use, and the client behind it.

A write of the Lease holder carries a gate, which is checked right before the bytes leave, after the connection was made
and the token read: a process that was frozen in between must not send what it decided long ago.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, Final, Protocol

import aiohttp
from kubernetes.aio import client

from limpet_operator.sources.kube_error import ApiError

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
"""For server-side apply; JSON is YAML."""

Gate = Callable[[], bool]


class NotSentError(ApiError):
    """The gate was closed: nothing reached the API server."""

    def __init__(self) -> None:
        super().__init__(None, "the lease expired before this could be sent", reason="NotSent")


class KubeCalls(Protocol):
    """What the writers need of Kubernetes."""

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = JSON,
        timeout_s: float = 10.0,
        gate: Gate | None = None,
    ) -> Any:
        """The decoded answer. Raises ApiError for every other outcome, NotSentError if `gate` said no."""


class KubeWriter:
    """The API server, by `kubernetes.aio`."""

    def __init__(self, configuration: Any) -> None:
        """`configuration` is a `kubernetes.aio` Configuration, from now on this object's own."""
        trace = aiohttp.TraceConfig()
        trace.on_request_headers_sent.append(self._before_bytes)
        configuration.trace_configs = [trace]
        self._configuration = configuration
        self._client: Any = client.ApiClient(configuration)
        self._gate: ContextVar[Gate | None] = ContextVar("gate", default=None)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def call(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        *,
        content_type: str = JSON,
        timeout_s: float = 10.0,
        gate: Gate | None = None,
    ) -> Any:
        """See `KubeCalls`."""
        self._gate.set(gate)
        try:
            async with asyncio.timeout(timeout_s):
                status, headers, text = await self._exchange(method, path, body, content_type)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiError(None, f"{method} {path}: {error or 'no answer in time'}", reason="NoAnswer") from error
        finally:
            self._gate.set(None)
        if status < 300:
            try:
                return json.loads(text)
            except ValueError as error:
                raise ApiError(status, f"{method} {path}: the answer is not JSON: {error}", reason="NotJSON") from error
        raise _failure(status, headers, text, f"{method} {path}")

    async def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None, content_type: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": JSON, "Content-Type": content_type, "User-Agent": "limpet-operator"}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, body)
        url = self._configuration.host + path
        response = await self._client.rest_client.request(method, url, headers=headers, body=body)
        return response.status, response.headers, await response.read()

    async def _before_bytes(self, _session: aiohttp.ClientSession, _context: SimpleNamespace, _sent: object) -> None:
        gate = self._gate.get()
        if gate is not None and not gate():
            raise NotSentError


def _failure(status: int, headers: Mapping[str, str], text: bytes, what: str) -> ApiError:
    try:
        answer = json.loads(text)
        reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", text[:200].decode(errors="replace")
    after = headers.get("Retry-After", "")
    retry_after_s = float(after) if after.isdecimal() else None
    return ApiError(status, f"{what}: {status} {message}", reason=reason, retry_after_s=retry_after_s)
