"""The few calls to an API server that the kubelet and the tests make, as plain JSON."""

import json
import ssl
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

Json = dict[str, Any]

_WAIT_S = 10.0


class ApiError(Exception):
    """The API server refused; `status` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


class Api:
    """An API server, as seen with one token. Raises ApiError for refusals, aiohttp.ClientError for silence."""

    def __init__(self, url: str, token: str, ca_file: str | None) -> None:
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"}
        self._tls: ssl.SSLContext = ssl.create_default_context(cafile=ca_file)

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            headers=self._headers,
            connector=aiohttp.TCPConnector(ssl=self._tls),
            timeout=aiohttp.ClientTimeout(total=_WAIT_S),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Json:
        """One request; the answer as JSON."""
        data = None if body is None else json.dumps(body)
        async with self._session.request(
            method, self._url + path, data=data, headers={"content-type": content_type}
        ) as response:
            answer: Json = await response.json(content_type=None)
            if response.status >= 400:
                raise ApiError(response.status, answer.get("message", str(answer)))
            return answer

    async def list(self, path: str) -> list[Json]:
        """The objects of a collection, from the server's cache."""
        answer = await self.call("GET", path + ("&" if "?" in path else "?") + "resourceVersion=0")
        return answer["items"]

    async def get(self, path: str) -> Json:
        """One object."""
        return await self.call("GET", path)

    async def create(self, path: str, body: Mapping[str, Any]) -> Json:
        """Make an object in a collection."""
        return await self.call("POST", path, body)

    async def merge(self, path: str, body: Mapping[str, Any]) -> Json:
        """Change some fields of an object."""
        return await self.call("PATCH", path, body, "application/merge-patch+json")

    async def delete(self, path: str, grace_s: int | None = None) -> None:
        """Delete an object; one that is gone already is fine."""
        try:
            await self.call("DELETE", path, None if grace_s is None else {"gracePeriodSeconds": grace_s})
        except ApiError as error:
            if error.status != 404:
                raise
