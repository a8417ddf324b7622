"""Asks for records: the activity service by its address, or the file of `limpet up` by the same questions."""

import json
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import httpx
from httpx import ASGITransport

from limpet_activity.store.databases import UrlError, parse_url
from limpet_activity.store.port import StoreError
from limpet_activity.store.sql_store import SqlStore
from limpet_activity.web.app import web_app
from limpet_activity.web.settings import PageSettings
from limpet_extproc.contract.state_folder import ACTIVITY_FILE, state_folder

_TIMEOUT_S: Final = 30.0
_IN_PROCESS: Final = "http://localhost"


class NoAnswerError(Exception):
    """Nobody answers, or not with records; the text says why and what to do."""


class AskedPage:
    """One connection. `async with` closes it."""

    def __init__(self, client: httpx.AsyncClient, whom: str, store: SqlStore | None = None) -> None:
        self._client: Final = client
        self._whom: Final = whom
        self._store: Final = store

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        await self._client.aclose()
        if self._store is not None:
            self._store.close()

    async def get(self, path: str, parameters: Mapping[str, str]) -> Any:
        """The JSON that is under /api/ there. Raises NoAnswerError."""
        try:
            answer = await self._client.get(f"/api/{path}", params={k: v for k, v in parameters.items() if v})
        except httpx.HTTPError as error:
            raise NoAnswerError(f"{self._whom} does not answer: {error or type(error).__name__}") from error
        try:
            found = answer.json()
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise NoAnswerError(f"{self._whom} answers {answer.status_code} and no JSON: is that the page?") from error
        if answer.status_code == 401:
            raise NoAnswerError(f"{self._whom} does not know that token: name the file with its own in --token-file")
        if answer.status_code != 200:
            wrong = found.get("error", {}) if isinstance(found, dict) else {}
            raise NoAnswerError(str(wrong.get("message") or f"{self._whom} answers {answer.status_code}"))
        return found


def asking(url: str | None, token_file: Path | None, store: str | None, environ: Mapping[str, str]) -> AskedPage:
    """Whom the flags name; without any the file of `limpet up`. Raises NoAnswerError."""
    if url is not None and store is not None:
        raise NoAnswerError("--url and --store name two places: give one of them")
    if url is not None:
        return _service(url, token_file)
    if store is not None:
        return _database(store)
    file = state_folder(environ, Path.home()) / ACTIVITY_FILE
    if not file.exists():
        raise NoAnswerError(
            f"{file} does not exist: 'limpet up' writes it. For an installation in a cluster, forward a port to its "
            "page and give --url http://127.0.0.1:PORT with --token-file"
        )
    return _database(f"sqlite:///{file}")


def _service(url: str, token_file: Path | None) -> AskedPage:
    if token_file is None:
        raise NoAnswerError("--url needs --token-file, a file with the token of that page")
    try:
        token = token_file.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise NoAnswerError(f"--token-file {token_file} cannot be read: {why}") from error
    if not url.startswith(("http://", "https://")):
        raise NoAnswerError(f"--url {url}: not an address such as http://127.0.0.1:8600")
    try:
        headers = {"authorization": f"Bearer {token}"}
        client = httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S, follow_redirects=False)
    except (httpx.InvalidURL, ValueError) as error:
        raise NoAnswerError(f"--url {url}, with this token: {error}") from error
    return AskedPage(client, url)


def _database(text: str) -> AskedPage:
    """The page's own answers, in this process."""
    try:
        store = SqlStore(parse_url(text), read_only=True)
        store.prepare()
    except (UrlError, StoreError, OSError) as error:
        raise NoAnswerError(f"the store cannot be read: {error}") from error
    token = secrets.token_urlsafe(16)
    app = web_app(store, PageSettings(token), time.time)
    headers = {"authorization": f"Bearer {token}"}
    client = httpx.AsyncClient(transport=ASGITransport(app), base_url=_IN_PROCESS, headers=headers, timeout=_TIMEOUT_S)
    return AskedPage(client, "the store", store)
