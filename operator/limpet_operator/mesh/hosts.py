"""Names of hosts as a mesh compares them."""

import re
from ipaddress import ip_address
from typing import Final

from limpet_operator.resources.url import is_ip

_NAME: Final = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_LONGEST: Final = 253
_LONGEST_LABEL: Final = 63


def plain(host: str) -> str:
    """The same name in lower case and without a final dot, which mean nothing in DNS."""
    return host.lower().removesuffix(".")


def is_host_name(host: str) -> bool:
    """Whether a mesh takes it as the name of one host, as it stands."""
    labels = host.split(".")
    return len(host) <= _LONGEST and _NAME.fullmatch(host) is not None and max(map(len, labels)) <= _LONGEST_LABEL


def parse_host(text: str) -> str:
    """A host that applications call, without scheme and port. Raises ValueError, with what to write instead."""
    host = plain(text)
    if "*" in host:
        raise ValueError(f"{text} is a pattern; name each host, as Limpet serves the hosts that it is told of")
    if is_ip(host.strip("[]")):
        raise ValueError(f"{text} is an address; name a host, as a mesh tells requests apart by it")
    if not is_host_name(host):
        if "/" in host or ":" in host:
            raise ValueError(f"{text} is not a host name; write the name alone, such as llm.internal")
        raise ValueError(f"{text or 'an empty text'} is not a host name; write one such as llm.internal")
    return host


def is_loopback(host: str) -> bool:
    """Whether it means the very pod or machine that asks."""
    return host == "localhost" or (is_ip(host) and ip_address(host).is_loopback)


def in_cluster(host: str, namespace: str, cluster_domain: str) -> str | None:
    """The whole name of the cluster's Service that this host means to a pod in this namespace; None: it means none."""
    suffix = f".svc.{cluster_domain}"
    if host.endswith(suffix):
        return host
    if host.endswith(".svc"):
        return f"{host}.{cluster_domain}"
    return f"{host}.{namespace}{suffix}" if "." not in host and not is_ip(host) else None
