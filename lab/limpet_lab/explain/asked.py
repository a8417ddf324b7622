"""The request that is asked about, from a file and the command line."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from limpet_extproc.contract.apis import CONVERSATIONS

_HEADER: Final = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*:\s*(.*)")
_PRINTABLE: Final = re.compile(r"[\t\x20-\x7e]*")


class AskedError(Exception):
    """There is nothing to explain; the message says what is wrong, and what would be right."""


@dataclass(frozen=True, slots=True)
class AskedRequest:
    """A request as a client would send it."""

    path: str
    headers: Mapping[str, str]
    """Lower case."""
    body: bytes


def asked_request(file: Path, path: str, headers: Sequence[str], key: str | None) -> AskedRequest:
    """The request. Raises AskedError."""
    if not path.startswith("/") or _PRINTABLE.fullmatch(path) is None or " " in path:
        raise AskedError(f"--path {path}: a path begins with a slash, such as {', '.join(_usual())}")
    named = dict(_header(each) for each in headers)
    if key is not None:
        if _PRINTABLE.fullmatch(key) is None or not key.strip():
            raise AskedError("--key is empty or has characters that no header can have")
        named["authorization"] = f"Bearer {key.strip()}"
    named.setdefault("content-type", "application/json")
    return AskedRequest(path, named, _body(file))


def _usual() -> list[str]:
    return [f"/v1{each}" for each in CONVERSATIONS]


def _header(text: str) -> tuple[str, str]:
    found = _HEADER.fullmatch(text)
    if found is None or _PRINTABLE.fullmatch(found[2]) is None:
        raise AskedError(f"--header '{text}' is not 'name: value', for example --header 'x-session-id: 4711'")
    return found[1].lower(), found[2].strip()


def _body(file: Path) -> bytes:
    try:
        body = file.read_bytes()
    except OSError as error:
        raise AskedError(f"{file} cannot be read: {error.strerror}") from error
    try:
        value = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise AskedError(f"{file} is not JSON: {error}. It is the body of a request, as a client sends it.") from error
    if not isinstance(value, dict):
        raise AskedError(f"{file} is not a JSON object; write the body of a request, with 'model' and the rest")
    return body
