"""Writing to the Kubernetes API: the port that status, Lease and Events go through, and the client behind it.

A write of the Lease holder carries a gate. It is asked in the very moment before the bytes leave, after the connection
was made and the token read: a process that was frozen in between must not send what it decided long ago.
"""

import asyncio
import json
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import SimpleNamespace
from typing import Any, Final, Protocol

import aiohttp
from kubernetes.aio import client

JSON: Final = "application/json"
MERGE_PATCH: Final = "application/merge-patch+json"

Gate = Callable[[], bool]


class ApiFailed(Exception):  # noqa: N818 (says what happened)
    """A request that did not do what was asked. Status 0: there was no answer, so it may have been carried out."""

    def __init__(self, status: int, reason: str, message: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        """Kubernetes' own word, such as Conflict or AlreadyExists."""
        self.retry_after_s = retry_after_s


class NotSent(ApiFailed):
    """The gate was closed: nothing reached the API server."""

    def __init__(self) -> None:
        super().__init__(0, "NotSent", "the lease ran out before this could be sent")


class Api(Protocol):
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
        """The decoded answer. Raises ApiFailed for every other outcome, NotSent if `gate` said no."""


class KubeApi:
    """The API server, by `kubernetes.aio`."""

    def __init__(self, configuration: Any) -> None:
        """`configuration` is a `kubernetes.aio` Configuration and becomes this object's own; see `sources.kube_api`."""
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
        """See `Api`."""
        self._gate.set(gate)
        try:
            async with asyncio.timeout(timeout_s):
                status, headers, text = await self._exchange(method, path, body, content_type)
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiFailed(0, "NoAnswer", f"{method} {path}: {error or 'no answer in time'}") from error
        finally:
            self._gate.set(None)
        if status < 300:
            try:
                return json.loads(text)
            except ValueError as error:
                raise ApiFailed(status, "NotJSON", f"{method} {path}: answered with something else: {error}") from error
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
            raise NotSent


def _failure(status: int, headers: Mapping[str, str], text: bytes, what: str) -> ApiFailed:
    try:
        told = json.loads(text)
        reason, message = str(told.get("reason", "")), str(told.get("message", ""))
    except (ValueError, AttributeError):
        reason, message = "", text[:200].decode(errors="replace")
    after = headers.get("Retry-After", "")
    return ApiFailed(status, reason, f"{what}: {status} {message}", float(after) if after.isdecimal() else None)
