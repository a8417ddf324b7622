"""Which address families this machine reaches the world by, and so which addresses of a provider Envoy is to take."""

import socket
from collections.abc import Callable
from typing import Final, Literal

LookupFamily = Literal["V4_PREFERRED", "AUTO"]
"""Envoy's words: addresses of IPv4 and only without one of IPv6, or the other way round."""

_ELSEWHERE: Final = {socket.AF_INET: "192.0.2.1", socket.AF_INET6: "2001:db8::1"}
"""Addresses for documentation: nobody has them, and the way to them is the way to everybody."""


def lookup_family(reaches: Callable[[socket.AddressFamily], bool]) -> LookupFamily:
    """What to prefer where a name has addresses of both families.

    IPv4, which more networks let through, unless there is no way out by it: a pod with IPv6 alone would ask in vain.
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
