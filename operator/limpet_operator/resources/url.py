"""The base URL of an API, parsed for Envoy, which needs address, port, path prefix and query."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final, Literal

_URL: Final = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[^\]]+\]|[^/:?]+)(?::(?P<port>[0-9]+))?(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_HIGHEST_PORT: Final = 65535
_USUAL_PORT: Final = {"http": 80, "https": 443}
_LONGEST_LABEL: Final = 63
"""Characters between two dots of a host name, by RFC 1035."""


@dataclass(frozen=True, slots=True)
class Url:
    """`https://api.deepseek.com/v1`. The prefix takes the place of the `/v1` in the client's path.

    A client's `/v1/chat/completions` goes to `path_prefix + "/chat/completions"`; the prefix is "" or begins with a
    slash and ends without one. An IPv6 host is without brackets. `query` is sent with every request; it is without the
    question mark.
    """

    scheme: Literal["http", "https"]
    host: str
    port: int
    path_prefix: str
    query: str = ""

    @property
    def authority(self) -> str:
        """The value of the `host` header: an IPv6 address in brackets, the port unless it is the scheme's default."""
        return self._host if self.port == _USUAL_PORT[self.scheme] else self.host_port

    @property
    def host_port(self) -> str:
        """The same, always with its port."""
        return f"{self._host}:{self.port}"

    @property
    def _host(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def __str__(self) -> str:
        return f"{self.scheme}://{self.host_port}{self.path_prefix}{self.query and '?' + self.query}"


def parse_url(text: str) -> Url:
    """Parses what the schema has accepted. Raises ValueError for a port or host that can't exist."""
    found = _URL.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not the URL of an API; write one such as https://api.example.com/v1")
    scheme: Literal["http", "https"] = "https" if found["scheme"] == "https" else "http"
    port = int(found["port"] or _USUAL_PORT[scheme])
    if not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"port {port} does not exist; write one between 1 and {_HIGHEST_PORT}")
    host = _host(found["host"].lower())
    return Url(scheme, host, port, (found["path"] or "").rstrip("/"), found["query"] or "")


def _host(text: str) -> str:
    if text.startswith("["):
        address = text.strip("[]")
        if not (is_ip(address) and ":" in address):
            raise ValueError(f"{text} is not an IPv6 address; write one such as [2001:db8::1], or a host name")
        return address
    labels = text.split(".")
    # A name whose last label is a number is read as an IPv4 address everywhere, so it must be one.
    if labels[-1].isdigit() and not is_ip(text):
        raise ValueError(f"{text} is not an IPv4 address; write four numbers from 0 to 255, or a host name")
    if not all(0 < len(label) <= _LONGEST_LABEL for label in labels):
        raise ValueError(f"{text} is not a host name; between two dots there are 1 to {_LONGEST_LABEL} characters")
    return text


def is_ip(host: str) -> bool:
    """Whether it is an address, which needs no resolving; an IPv6 one without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
