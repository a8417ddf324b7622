"""Whose a service account's token is, by the API server's word, which is remembered for a little while."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple, Protocol

from limpet_operator.sources.kube_error import ApiError

PATH: Final = "/apis/authentication.k8s.io/v1/tokenreviews"

AUDIENCE: Final = "istio-ca"
"""Of the token that every sidecar of Istio's has."""
REMEMBERED_S: Final = 60.0
"""How long a revoked token may still count."""
_MOST_REMEMBERED: Final = 10_000
_MOST_AT_ONCE: Final = 8
"""Questions to the API server: whoever sends us made-up tokens must not keep it busy."""
_LONGEST_TOKEN: Final = 16_384
_ACCOUNT: Final = "system:serviceaccount:"


class CallApi(Protocol):
    """A call to the API server."""

    def __call__(self, method: str, path: str, body: Mapping[str, Any], /) -> Awaitable[Any]:
        """Its answer, decoded. Raises ApiError."""


class Workload(NamedTuple):
    """A service account."""

    namespace: str
    name: str


class TokenRefusedError(Exception):
    """The token is not one that counts here; the message says why, without the token."""


class TokenReviews:
    """Asks the API server."""

    def __init__(self, call: CallApi, audience: str, clock: Callable[[], float]) -> None:
        """`audience`: whom the token must be meant for. `clock`: seconds."""
        self._call = call
        self._audience = audience
        self._clock = clock
        self._known: dict[bytes, tuple[float, Workload]] = {}
        self._asking = asyncio.Semaphore(_MOST_AT_ONCE)

    async def workload(self, token: str) -> Workload:
        """Whose it is. Raises TokenRefusedError, and ApiError if the API server does not say."""
        if not token or len(token) > _LONGEST_TOKEN:
            raise TokenRefusedError("no token of a service account came with the call")
        key = hashlib.blake2b(token.encode(errors="replace"), digest_size=32).digest()
        known = self._known.get(key)
        if known is not None and self._clock() < known[0]:
            return known[1]
        self._known.pop(key, None)
        async with self._asking:
            answer = await self._call("POST", PATH, review(token, self._audience))
        found = reviewed(answer, self._audience)
        if len(self._known) >= _MOST_REMEMBERED:
            del self._known[next(iter(self._known))]
        self._known[key] = (self._clock() + REMEMBERED_S, found)
        return found


def review(token: str, audience: str) -> dict[str, Any]:
    """The question, as a TokenReview."""
    return {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "spec": {"token": token, "audiences": [audience]},
    }


def reviewed(answer: Any, audience: str) -> Workload:
    """Whose it is by the answer. Raises TokenRefusedError, and ApiError for an answer that is no TokenReview.

    An API server that does not know of audiences leaves them out, and what it says then counts for any.
    """
    status = answer.get("status") if isinstance(answer, dict) else None
    if not isinstance(status, dict):
        raise ApiError(None, "the API server's answer is no TokenReview")
    if status.get("authenticated") is not True:
        raise TokenRefusedError("the API server does not accept the token")
    if audience not in (status.get("audiences") or ()):
        raise TokenRefusedError(f"the token is not for the audience {audience}")
    user = status.get("user")
    name = user.get("username") if isinstance(user, dict) else None
    namespace, _, account = name.removeprefix(_ACCOUNT).partition(":") if isinstance(name, str) else ("", "", "")
    if not (isinstance(name, str) and name.startswith(_ACCOUNT) and namespace and account):
        raise TokenRefusedError("the token is not of a service account")
    return Workload(namespace, account)
