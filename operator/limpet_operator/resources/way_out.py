"""Which providers are reached through an HTTP proxy: networks where nothing else leads out."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from limpet_operator.resources.url import Url, is_ip, parse_url

_PROXY: Final = re.compile(r"http://(\[[^\]/@]+\]|[^/:@?#\[\]]+)(:[0-9]+)?/?")
_ADVICE: Final = "write http://HOST:PORT, without a name and password"


@dataclass(frozen=True, slots=True)
class Proxy:
    """An HTTP proxy that is asked for a tunnel by CONNECT. An IPv6 host is without brackets."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"


WayOut = Proxy | Literal["direct"]


def parse_way_out(text: str) -> WayOut:
    """`direct`, or a proxy's URL. Raises ValueError, which never shows the text: there may be a password in it."""
    if text == "direct":
        return "direct"
    if _PROXY.fullmatch(text) is None:
        raise ValueError(f"this is no proxy that can be used; {_ADVICE}")
    url = parse_url(text)
    return Proxy(url.host, url.port)


@dataclass(frozen=True, slots=True)
class WaysOut:
    """The way to providers that say nothing of it themselves, by the scheme of their URL.

    `direct` are hosts that are reached without a proxy, as in NO_PROXY: a name with all below it, an address, a network
    (10.0.0.0/8), each with a port if only that is meant, or `*` for all. This machine is always reached directly.
    """

    https: Proxy | None = None
    http: Proxy | None = None
    direct: tuple[str, ...] = ()

    def to(self, url: Url) -> Proxy | None:
        """The proxy for requests to this URL; None: none."""
        proxy = self.https if url.scheme == "https" else self.http
        if proxy is None or _this_machine(url.host) or any(_covers(entry, url) for entry in self.direct):
            return None
        return proxy


def ways_out(environment: Mapping[str, str]) -> tuple[WaysOut, tuple[str, ...]]:
    """As HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY say, in either case; and what is to be said of it."""
    notes: list[str] = []

    def named(*names: str) -> Proxy | None:
        for name in (each for plain in names for each in (plain.lower(), plain)):
            if not environment.get(name):
                continue
            text = environment[name]
            try:
                found = parse_way_out(text if "://" in text else f"http://{text}")
            except ValueError as error:
                notes.append(f"{name} has no effect: {error}")
                return None
            return None if found == "direct" else found
        return None

    https, http = named("HTTPS_PROXY", "ALL_PROXY"), named("HTTP_PROXY", "ALL_PROXY")
    for scheme, proxy in (("https", https), ("http", http)):
        if proxy is not None:
            notes.append(f"{scheme}:// providers are reached through {proxy}, but for NO_PROXY and this machine's own")
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return WaysOut(https, http, tuple(re.split(r"[,\s]+", exceptions.strip(", \t")))), tuple(dict.fromkeys(notes))


def _this_machine(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    return is_ip(host) and ipaddress.ip_address(host).is_loopback


def _covers(entry: str, url: Url) -> bool:
    if entry == "*":
        return True
    name, colon, port = entry.rpartition(":")
    if colon and port.isdigit() and (":" not in name or name.endswith("]")):
        if int(port) != url.port:
            return False
        entry = name
    entry = entry.lower().strip("[]")
    if not entry:
        return False
    if is_ip(url.host):
        try:
            return ipaddress.ip_address(url.host) in ipaddress.ip_network(entry, strict=False)
        except ValueError:
            return False
    ending = entry.removeprefix("*").lstrip(".")
    return url.host == ending or url.host.endswith("." + ending)
