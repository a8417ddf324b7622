"""Whose workload sent a request, by the header in which the sidecar in front of the gateway says so. Pure.

Envoy hands over the address that the connection came from, and the header `x-forwarded-client-cert` as it came with it:
anybody may write that header, so it counts only on a connection of the sidecar's own.
"""

import re
from typing import Final

SIDECARS: Final = frozenset({"127.0.0.6", "::6"})
"""From where Istio's sidecars speak to the container beside them. Not all of loopback, from where
`kubectl port-forward` comes, too."""

_SPIFFE_ID: Final = re.compile(r"spiffe://[a-z0-9._-]{1,255}/ns/[a-z0-9-]{1,63}/sa/[a-z0-9.-]{1,253}")
_PART: Final = re.compile(r'([A-Za-z]+)=(?:"((?:[^"\\]|\\.)*)"|([^",;=\\]*(?:=[^",;=\\]*)*))(;|$)')
_LONGEST: Final = 8192


def workload_of(told: str) -> str:
    """The SPIFFE id in what Envoy tells, `ADDRESS HEADER`; empty: it is not known.

    The sidecar replaces whatever a client sent by one element about the certificate that it has seen. So several, or
    one that names two workloads, are not its own.
    """
    address, _, header = told.partition(" ")
    if address not in SIDECARS or not header or len(header) > _LONGEST:
        return ""
    at, ids = 0, []
    while at < len(header):
        part = _PART.match(header, at)
        if part is None:
            return ""
        if part[1].lower() == "uri":
            ids.append(part[2] if part[2] is not None else part[3])
        if not part[4] and part.end() != len(header):
            return ""
        at = part.end()
    return ids[0] if len(ids) == 1 and _SPIFFE_ID.fullmatch(ids[0]) else ""
