"""What a running gateway would do: asked of itself, with what it remembers, and without a provider hearing of it."""

import http.client
import json
import ssl
from http import HTTPStatus
from http.client import HTTPConnection, HTTPResponse, HTTPSConnection
from typing import Final
from urllib.parse import urlsplit

from limpet_extproc.contract.envoy import DEBUG_HEADER, DECISION_HEADER, EXPLAIN_ALONE
from limpet_extproc.contract.explanation import Explanation, NoExplanationError, decode
from limpet_extproc.contract.reasons import ANSWERED, EXPLAINED
from limpet_lab.explain.asked import AskedRequest

_TIMEOUT_S: Final = 30.0
_MOST_BYTES: Final = 4 * 1024 * 1024
_MOST_SHOWN: Final = 300


class GatewayError(Exception):
    """The gateway did not explain; the message says why, and what to do."""


def explain_running(request: AskedRequest, url: str, timeout_s: float = _TIMEOUT_S) -> Explanation:
    """The gateway's own explanation. Raises GatewayError.

    First it has to show that it is a Limpet: any other would send the request on, and somebody would pay for it.
    """
    secure, host, port, base = _place(url)
    _require_limpet(url, *_asked(url, secure, host, port, "GET", f"{base}/healthz", None, {}, timeout_s))
    headers = {**request.headers, DEBUG_HEADER: EXPLAIN_ALONE}
    path = base + request.path
    response, body = _asked(url, secure, host, port, "POST", path, request.body, headers, timeout_s)
    decision = response.headers.get(DECISION_HEADER, "")
    if response.status == 200 and decision == EXPLAINED:
        try:
            return decode(body)
        except NoExplanationError as error:
            raise GatewayError(f"{url} is a Limpet of another version: {error}") from error
    if decision == "":
        _require_limpet(url, response, body)
    hint = ". Give the client's key with --key" if response.status == HTTPStatus.UNAUTHORIZED else ""
    raise GatewayError(f"{url} does not explain ({response.status}, {decision}): {_message(body).rstrip('.')}{hint}.")


def _place(url: str) -> tuple[bool, str, int, str]:
    try:
        found = urlsplit(url)
        port = found.port
    except ValueError as error:
        raise GatewayError(f"--gateway {url} is not a URL: {error}") from error
    if found.scheme not in ("http", "https") or not found.hostname:
        raise GatewayError(f"--gateway {url} is not a URL; write one such as http://127.0.0.1:10000")
    secure = found.scheme == "https"
    # SDKs are given a base URL that ends in /v1, and the path has it too.
    return secure, found.hostname, port or (443 if secure else 80), found.path.rstrip("/").removesuffix("/v1")


def _asked(
    url: str,
    secure: bool,
    host: str,
    port: int,
    method: str,
    path: str,
    body: bytes | None,
    headers: dict[str, str],
    timeout_s: float,
) -> tuple[HTTPResponse, bytes]:
    connection: HTTPConnection = (
        HTTPSConnection(host, port, timeout=timeout_s, context=ssl.create_default_context())
        if secure
        else HTTPConnection(host, port, timeout=timeout_s)
    )
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response, response.read(_MOST_BYTES)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise GatewayError(
            f"no gateway answers at {url}: {why}. Start one with 'limpet up', or name its address"
        ) from error
    finally:
        connection.close()


def _require_limpet(url: str, response: HTTPResponse, body: bytes) -> None:
    if not response.headers.get(DECISION_HEADER, "").startswith(ANSWERED):
        raise GatewayError(
            f"what answers at {url} is not a Limpet gateway, so the request was not sent to it (GET /healthz: "
            f"{response.status}, {_message(body)})"
        )


def _message(body: bytes) -> str:
    """What an error says, in the shape of whichever API."""
    text = body.decode("utf-8", "replace").strip()
    try:
        error = json.loads(text)["error"]
        text = error["message"] if isinstance(error, dict) else str(error)
    except (ValueError, KeyError, TypeError, RecursionError):
        pass
    shown = "".join(each for each in text if each.isprintable())
    return shown[:_MOST_SHOWN] or "no text"
