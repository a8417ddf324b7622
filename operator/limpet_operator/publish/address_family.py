"""The address families by which this machine reaches the internet, and so which addresses of a provider to use."""

import socket
from collections.abc import Callable
from typing import Final, Literal

LookupFamily = Literal["V4_PREFERRED", "AUTO"]
"""Envoy's words: addresses of IPv4 and only without one of IPv6, or the other way round."""

_ELSEWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation: no host has them, and the default route leads to them."""


def lookup_family(reaches: Callable[[socket.AddressFamily], bool]) -> LookupFamily:
    """Which family to prefer for a name with addresses of both.

    IPv4, which more networks let through, unless there is no route out: in a pod with IPv6 alone it would fail.
    """
    return "AUTO" if reaches(socket.AF_INET6) and not reaches(socket.AF_INET) else "V4_PREFERRED"


def reaches(family: socket.AddressFamily) -> bool:
    """Whether there is a route out by this family. Nothing is sent."""
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((_ELSEWHERE[family], 9))
    except OSError:
        return False
    return True
