"""The address of a Redis, parsed from a URL, with errors that say what to write instead. No I/O."""

from dataclasses import dataclass
from typing import Final, Literal, NoReturn
from urllib.parse import quote, unquote

Topology = Literal["single", "sentinel", "cluster"]

_SCHEMES: Final[dict[str, tuple[Topology, bool]]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
}
_PORT: Final = {"single": 6379, "sentinel": 26379, "cluster": 6379}
_MAX_PORT: Final = 65_535


class AddressError(ValueError):
    """The URL names no Redis; the message says what to write."""


@dataclass(frozen=True, slots=True)
class Address:
    """One server; or the sentinels that know which one it is; or some nodes of a cluster."""

    topology: Topology
    tls: bool
    hosts: tuple[tuple[str, int], ...]
    service: str = ""
    """Its name among the sentinels."""
    database: int = 0

    def __str__(self) -> str:
        """As a URL, for logs."""
        scheme = next(name for name, means in _SCHEMES.items() if means == (self.topology, self.tls))
        hosts = ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)
        service = f"/{quote(self.service)}" if self.service else ""
        return f"{scheme}://{hosts}{service}" + (f"/{self.database}" if self.topology != "cluster" else "")


def parse(url: str) -> Address:
    """The address in a URL. Raises `AddressError`.

    `redis://host[:port][/database]`, `redis+sentinel://host[:port],…/service[/database]`,
    `redis+cluster://host[:port],…`; `rediss` in place of `redis` for TLS.
    """
    scheme, mark, rest = url.partition("://")
    means = _SCHEMES.get(scheme.lower())
    if not mark or means is None:
        # Without the URL itself: if its scheme is wrong, a password may stand anywhere.
        _refuse(f"starts with none of {', '.join(f'{name}://' for name in _SCHEMES)}")
    topology, tls = means
    hosts, _, path = rest.partition("/")
    if "@" in rest:
        _refuse(
            "has a user or password in it, which every list of processes would show: put them into a Secret with the "
            "keys username and password, and name its directory with --redis-credentials"
        )
    if "?" in rest or "#" in rest:
        _refuse("has parameters after '?' or '#', and none are known: leave them out")
    addresses = tuple(_host(text, topology) for text in hosts.split(","))
    if topology == "single" and len(addresses) > 1:
        _refuse("names several hosts: write redis+sentinel:// or redis+cluster:// if that is what they are, else one")
    return Address(topology, tls, addresses, *_path([unquote(part) for part in path.split("/")], topology))


def _path(parts: list[str], topology: Topology) -> tuple[str, int]:
    """The service and the database that the path names."""
    names = parts[:-1] if parts and not parts[-1] else parts
    if topology == "cluster":
        if names and names != ["0"]:
            _refuse(f"asks for '/{'/'.join(names)}', but a cluster has only database 0: end it after the hosts")
        return "", 0
    service = ""
    if topology == "sentinel":
        if not names or not names[0]:
            _refuse("does not say which service the sentinels watch: write it after the hosts, for example /mymaster")
        service, *names = names
    if len(names) > 1 or (names and not (names[0].isascii() and names[0].isdecimal())):
        _refuse(f"ends with '/{'/'.join(names)}', where only the number of a database can stand, for example /0")
    return service, int(names[0]) if names else 0


def _host(text: str, topology: Topology) -> tuple[str, int]:
    if text.startswith("["):
        host, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            _refuse(f"has the host '{text}': an IPv6 address is written [2001:db8::1]:6379")
        port = rest[1:]
    else:
        host, _, port = text.partition(":")
        if ":" in port:
            _refuse(f"has the host '{text}': an IPv6 address is written in brackets, [2001:db8::1]:6379")
    if not host:
        _refuse("names no host, or has a comma too many: write for example redis://redis.example:6379")
    if not port:
        return host, _PORT[topology]
    if not (port.isascii() and port.isdecimal() and 0 < int(port[:6]) <= _MAX_PORT):
        _refuse(f"has the port '{port}' where a number from 1 to {_MAX_PORT} should be")
    return host, int(port)


def _refuse(what: str) -> NoReturn:
    raise AddressError(f"the Redis URL {what}")
