"""Where a local gateway listens: its addresses, and the names and origins by which it may be used."""

import errno
import ipaddress
import re
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.publish.origins import LOOPBACK_ORIGINS, OWN_NAMES

_NAME: Final = re.compile(r"(?:\*\.)?[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")


class CannotStart(Exception):  # noqa: N818 (says what happened)
    """Something outside of Limpet is in the way; the message says what and what to do."""


def parse_listen(text: str) -> HostPort:
    """An address that clients can be given. Raises ValueError that says what would be right."""
    place = HostPort.parse(text)
    if place is None or not place.port:
        raise ValueError(f"'{text}' is not HOST:PORT, for example 127.0.0.1:10000")
    if text.startswith("["):
        try:
            ipaddress.IPv6Address(place.host)
        except ValueError:
            raise ValueError(f"'[{place.host}]' is not an IPv6 address; write one as [::1]:{place.port}") from None
    elif ":" in place.host:
        raise ValueError(f"an IPv6 address needs brackets: write {place}")
    return place


def own_name(text: str) -> str:
    """A host name as clients write it in `Host`, in lower case. Raises ValueError that says what would be right."""
    name = text.lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{text}' is not a host name; write one without scheme and port, such as gateway.example")
    return name


def in_url(host: str) -> str:
    """A host as it stands in a URL."""
    return f"[{host}]" if ":" in host else host


def gateway_id(host: str, port: int) -> str:
    """The id of a local gateway: the same each time, and no two of this machine have one address."""
    return f"limpet-local-{port}" if host in ("127.0.0.1", "localhost") else f"limpet-{in_url(host)}-{port}"


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Free addresses of this machine."""

    host: str
    """As the user wrote it."""
    addresses: tuple[str, ...]
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return all(ipaddress.ip_address(address).is_loopback for address in self.addresses)

    @property
    def reachable(self) -> str:
        """A host by which this machine reaches it."""
        first = ipaddress.ip_address(self.addresses[0])
        if not first.is_unspecified:
            return self.host
        return "::1" if first.version == 6 else "127.0.0.1"

    def own_names(self, further: Sequence[str]) -> tuple[str, ...]:
        """Host names that clients may use; none: any. Beyond loopback it has names that it cannot know."""
        if not self.loopback and not further:
            return ()
        return tuple(dict.fromkeys((*OWN_NAMES, in_url(self.host).lower(), *further)))

    def origins(self, further: Sequence[str]) -> tuple[str, ...]:
        """Origins whose pages may use it."""
        return tuple(dict.fromkeys((*(LOOPBACK_ORIGINS if self.loopback else ()), *further)))


def find_listen_address(host: str, port: int, flag: str = "--listen HOST:PORT") -> ListenAddress:
    """The addresses of this host. Raises CannotStart if one is in use, or none belongs to this machine.

    A name may have several addresses, as localhost has those of both families; those that this machine lacks are left
    out. `flag` is where the user would choose another.
    """
    try:
        addresses = tuple(dict.fromkeys(_addresses(host)))
    except OSError as error:
        raise CannotStart(
            f"cannot listen on {in_url(host)}:{port}: the name does not resolve. "
            f"Write an address of this machine with {flag}"
        ) from error
    ours: list[str] = []
    for address in addresses:
        try:
            _bind(address, port)
        except OSError as error:
            if error.errno not in _NOT_HERE or (address == addresses[-1] and not ours):
                raise CannotStart(
                    f"cannot listen on {in_url(address)}:{port}: {error.strerror}. "
                    f"{_ADVICE.get(error.errno or 0, _OTHER)} {flag}"
                ) from error
        else:
            ours.append(address)
    return ListenAddress(host, tuple(ours), port)


_OTHER: Final = "Choose another with"
_ADVICE: Final = {
    errno.EADDRINUSE: "Stop what uses it, or choose another with",
    errno.EADDRNOTAVAIL: "It is not an address of this machine; write one with",
}
_NOT_HERE: Final = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""The machine has no such address, or no such family."""


def _addresses(host: str) -> Iterator[str]:
    if host.lower() == "localhost":
        # Clients try both, in their own order, whatever this machine's files say.
        yield from ("127.0.0.1", "::1")
        return
    for _, _, _, _, address in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM):
        yield str(address[0])


def _bind(address: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            # As Envoy does: `::` is both families, any other address is its own alone.
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0 if address == "::" else 1)
        probe.bind((address, port))
