"""The Kubernetes API as it is read: JSON by path, with the pod's own account or a kubeconfig. Nothing is written."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
from kubernetes.aio import client, config

READ_TIMEOUT_S = 30.0
WATCH_S = 240
"""The API server ends each watch after this; the next one goes on where it ended."""
SILENCE_S = WATCH_S + 30
"""A watch that says nothing for so long, not even that it has ended, is dead."""

_TOKEN = "BearerToken"  # noqa: S105 (the name of a setting)
_config: Final[Any] = config  # typed in part only, which mypy's strict mode refuses to call


class ApiError(Exception):
    """The API server did not give what was asked for; `status` is HTTP's, None: there was no answer at all."""

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status


class NoClusterError(Exception):
    """Nothing says where the Kubernetes API is; the message says how to."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is and who we are there. None: the pod's service account, or else what KUBECONFIG names."""

    kubeconfig: Path | None = None

    async def configuration(self) -> Any:
        """Read anew, so that it has the newest token. Raises NoClusterError."""
        configuration = client.Configuration()
        configuration.connection_pool_maxsize = 0  # No limit: each watch holds a connection.
        try:
            if self.kubeconfig is not None:
                await _config.load_kube_config(str(self.kubeconfig), client_configuration=configuration)
            else:
                await _default(configuration)
        except (config.ConfigException, OSError) as error:
            raise NoClusterError(
                f"no Kubernetes API is known ({error}); run inside a pod with a service account, "
                "or name a file with --kubeconfig or KUBECONFIG"
            ) from error
        return configuration


async def _default(configuration: Any) -> None:
    try:
        _config.load_incluster_config(client_configuration=configuration)
    except config.ConfigException:
        await _config.load_kube_config(client_configuration=configuration)


def bearer_token(configuration: Any) -> str | None:
    """The token alone; None: something else, such as a client certificate, says who we are."""
    value: str | None = configuration.api_key.get(_TOKEN)
    return None if value is None else value.split(" ", 1)[-1].strip()


class KubernetesApi:
    """Reads from one API server. `async with await KubernetesApi.connect(access) as api: …`; never writes."""

    def __init__(self, configuration: Any) -> None:
        self._client: Any = client.ApiClient(configuration)

    @classmethod
    async def connect(cls, access: Access) -> Self:
        """Nothing is sent yet. Raises NoClusterError."""
        return cls(await access.configuration())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections."""
        await self._client.close()

    async def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        decode: Callable[[bytes], Any] = msgspec.json.decode,
    ) -> Any:
        """What a GET answers, decoded. Raises ApiError, also for what `decode` refuses by a MsgspecError."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                response = await self._open(path, query or {}, accept, aiohttp.ClientTimeout(READ_TIMEOUT_S))
                async with response:
                    body: bytes = await response.read()
        except (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError) as error:
            raise _unreachable(error) from error
        if response.status >= 400:
            raise ApiError(response.status, _words(response.status, body))
        try:
            return decode(body)
        except msgspec.MsgspecError as error:
            raise ApiError(
                response.status, f"the Kubernetes API answers {path} with something else: {error}"
            ) from error

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Any]:
        """The events of one watch, until the server ends it in good order. Raises ApiError."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=READ_TIMEOUT_S, sock_read=SILENCE_S)
        asked = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S)}
        try:
            response = await self._open(path, asked, "application/json", timeout)
            async with response:
                if response.status >= 400:
                    raise ApiError(response.status, _words(response.status, await response.read()))
                # Lines are put together here: an event may be longer than what aiohttp takes for a line.
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield msgspec.json.decode(line)
        except (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError, msgspec.DecodeError) as error:
            raise _unreachable(error) from error

    async def _open(
        self, path: str, query: Mapping[str, str], accept: str, patience: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        method, url, headers, _, _ = await self._client.param_serialize(
            "GET", path, query_params=list(query.items()), header_params={"Accept": accept}, auth_settings=[_TOKEN]
        )
        answer = await self._client.call_api(method, url, headers, _request_timeout=patience)
        response: aiohttp.ClientResponse = answer.response
        return response


def _unreachable(error: Exception) -> ApiError:
    return ApiError(None, f"the Kubernetes API does not answer: {error or type(error).__name__}")


def _words(status: int, body: bytes) -> str:
    try:
        message = msgspec.json.decode(body)["message"]
    except (msgspec.DecodeError, KeyError, TypeError):
        message = body[:200].decode(errors="replace")
    return f"the Kubernetes API answers {status}: {message}"
