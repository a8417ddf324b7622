"""Where an API begins: a URL taken apart for Envoy, which wants address, port and path prefix."""

import re
from dataclasses import dataclass
from typing import Final, Literal

_URL: Final = re.compile(r"(?P<scheme>https?)://(?P<host>\[[^\]]+\]|[^/:]+)(?::(?P<port>[0-9]+))?(?P<path>/.*)?")
_HIGHEST_PORT: Final = 65535


@dataclass(frozen=True, slots=True)
class Url:
    """`https://api.deepseek.com/v1`. The prefix takes the place of the `/v1` in the client's path.

    A client's `/v1/chat/completions` goes to `path_prefix + "/chat/completions"`; the prefix is "" or begins with a
    slash and ends without one. An IPv6 host is without brackets.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    path_prefix: str

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path_prefix}"


def parse_url(text: str) -> Url:
    """Takes apart what the schema has let through. Raises ValueError for a port that does not exist."""
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no URL of an API; write one such as https://api.example.com/v1")
    scheme: Literal["http", "https"] = "https" if found["scheme"] == "https" else "http"
    port = int(found["port"] or (443 if scheme == "https" else 80))
    if not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"port {port} does not exist; write one between 1 and {_HIGHEST_PORT}")
    return Url(scheme, found["host"].strip("[]").lower(), port, (found["path"] or "").rstrip("/"))
