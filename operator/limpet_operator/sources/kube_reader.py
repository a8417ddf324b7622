"""Reading from the Kubernetes API: JSON by path, with the pod's own account or a kubeconfig."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import aiohttp
import msgspec
import yaml
from kubernetes.aio import client, config
from kubernetes.aio.config.incluster_config import InClusterConfigLoader

from limpet_operator.sources.kube_error import ApiError

READ_TIMEOUT_S = 30.0
WATCH_S = 240
"""The API server ends each watch after this; the next one continues from there."""
SILENCE_S = WATCH_S + 30
"""A watch that is silent for this long, without even ending, is dead."""

_TOKEN = "BearerToken"  # noqa: S105 (the name of a setting)
# Only partly typed, which mypy's strict mode refuses to call.
_config: Final[Any] = config
_account: Final[Any] = InClusterConfigLoader


class NoClusterError(Exception):
    """The address of the Kubernetes API is unknown; the message says how to give it."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the API is, and with which identity it is accessed."""

    kubeconfig: Path | None = None
    """None: the pod's service account, or else the files in KUBECONFIG."""
    account: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount")
    """Where the pod's token and its cluster's certificate are."""
    environment: Mapping[str, str] = field(default_factory=lambda: os.environ)

    async def configuration(self) -> Any:
        """Read again at each call, for the newest token. Raises NoClusterError."""
        configuration = client.Configuration()
        configuration.connection_pool_maxsize = 0  # No limit: each watch holds a connection.
        try:
            if self.kubeconfig is not None:
                if not self.kubeconfig.exists():  # The client takes it for an empty one.
                    raise NoClusterError(_unknown(f"{self.kubeconfig} does not exist"))
                await _config.load_kube_config(str(self.kubeconfig), client_configuration=configuration)
            else:
                await self._default(configuration)
        except (config.ConfigException, OSError) as error:
            raise NoClusterError(_unknown(str(error))) from error
        except (yaml.YAMLError, UnicodeDecodeError, TypeError) as error:  # TypeError: YAML, but no mapping
            name = self.kubeconfig or "what KUBECONFIG names"
            raise NoClusterError(_unknown(f"{name} is not a kubeconfig: {' '.join(str(error).split())}")) from error
        return configuration

    async def _default(self, configuration: Any) -> None:
        token, authority = self.account / "token", self.account / "ca.crt"
        pod = _account(token, authority, try_refresh_token=False, environ=self.environment)
        try:
            pod.load_and_set(configuration)
        except config.ConfigException:
            await _config.load_kube_config(client_configuration=configuration)
        else:
            # At each request: the kubelet replaces a token before it expires, but it may be revoked at any moment.
            configuration.refresh_api_key_hook = partial(_renewed, pod)


def _unknown(why: str) -> str:
    return (
        f"no Kubernetes API is known ({why}); run inside a pod with a service account, "
        "or name a file with --kubeconfig or KUBECONFIG"
    )


def _renewed(pod: Any, configuration: Any) -> None:
    with suppress(config.ConfigException, OSError):
        pod.load_and_set(configuration)


def bearer_token(configuration: Any) -> str | None:
    """The token alone; None: something else, such as a client certificate, authenticates us."""
    value: str | None = configuration.api_key.get(_TOKEN)
    return None if value is None else value.split(" ", 1)[-1].strip()


class KubeReader:
    """Reads from one API server. `async with await KubeReader.connect(access) as api: …`; never writes."""

    def __init__(self, configuration: Any) -> None:
        self._client: Any = client.ApiClient(configuration)

    @classmethod
    async def connect(cls, access: Access) -> Self:
        """Create a reader; nothing is sent yet. Raises NoClusterError."""
        return cls(await access.configuration())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def get(
        self,
        path: str,
        query: Mapping[str, str] | None = None,
        accept: str = "application/json",
        decode: Callable[[bytes], Any] = msgspec.json.decode,
    ) -> Any:
        """The decoded answer to a GET. Raises ApiError, also if `decode` raises a MsgspecError."""
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
                response.status, f"the Kubernetes API answers {path} with something unexpected: {error}"
            ) from error

    async def watch(self, path: str, query: Mapping[str, str]) -> AsyncIterator[Any]:
        """The events of one watch, until the server ends it normally. Raises ApiError."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=READ_TIMEOUT_S, sock_read=SILENCE_S)
        parameters = {**query, "watch": "true", "allowWatchBookmarks": "true", "timeoutSeconds": str(WATCH_S)}
        try:
            response = await self._open(path, parameters, "application/json", timeout)
            async with response:
                if response.status >= 400:
                    raise ApiError(response.status, _words(response.status, await response.read()))
                # Lines are assembled here: an event may be longer than aiohttp's limit for a line.
                rest = b""
                async for chunk in response.content.iter_any():
                    *lines, rest = (rest + chunk).split(b"\n")
                    for line in lines:
                        yield msgspec.json.decode(line)
        except (aiohttp.ClientError, OSError, ssl.SSLError, TimeoutError, msgspec.DecodeError) as error:
            raise _unreachable(error) from error

    async def _open(
        self, path: str, query: Mapping[str, str], accept: str, limits: aiohttp.ClientTimeout
    ) -> aiohttp.ClientResponse:
        method, url, headers, _, _ = await self._client.param_serialize(
            "GET", path, query_params=list(query.items()), header_params={"Accept": accept}, auth_settings=[_TOKEN]
        )
        answer = await self._client.call_api(method, url, headers, _request_timeout=limits)
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
