"""Which providers are reached through an HTTP proxy, in networks that have no other way out."""

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


ProxyChoice = Proxy | Literal["direct"]


def parse_proxy(text: str) -> ProxyChoice:
    """`direct`, or a proxy's URL. Raises ValueError, which never shows the text: there may be a password in it."""
    if text == "direct":
        return "direct"
    if _PROXY.fullmatch(text) is None:
        raise ValueError(f"this is not a proxy that can be used; {_ADVICE}")
    url = parse_url(text)
    return Proxy(url.host, url.port)


@dataclass(frozen=True, slots=True)
class ProxySettings:
    """The proxies for providers that name none themselves, by the scheme of their URL.

    `direct` lists hosts that are reached without a proxy, as in NO_PROXY: a name and all names below it, an address, a
    network (10.0.0.0/8), each optionally with a port, or `*` for all. This machine is always reached directly.
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


def proxy_settings(environment: Mapping[str, str]) -> tuple[ProxySettings, tuple[str, ...]]:
    """From HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in either case; with notes for the user."""
    notes: list[str] = []

    def named(*names: str) -> Proxy | None:
        for name in (each for plain in names for each in (plain.lower(), plain)):
            if not environment.get(name):
                continue
            text = environment[name]
            try:
                found = parse_proxy(text if "://" in text else f"http://{text}")
            except ValueError as error:
                notes.append(f"{name} has no effect: {error}")
                return None
            return None if found == "direct" else found
        return None

    https, http = named("HTTPS_PROXY", "ALL_PROXY"), named("HTTP_PROXY", "ALL_PROXY")
    for scheme, proxy in (("https", https), ("http", http)):
        if proxy is not None:
            notes.append(
                f"{scheme}:// providers are reached through {proxy}, except those in NO_PROXY or on this machine"
            )
    exceptions = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return ProxySettings(https, http, tuple(re.split(r"[,\s]+", exceptions.strip(", \t")))), tuple(dict.fromkeys(notes))


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
