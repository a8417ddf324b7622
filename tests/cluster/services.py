"""Where a Service's name leads: pure rules over pods, a DNS server for the pods, connections for clients in the tests.

A name answers with all addresses of a headless Service and with one of the ready ones, drawn anew each time, where a
cluster would answer with the virtual address that its nodes spread over the ready ones. So inside of pods a Service's
port must be the pods' port; clients of the tests go by the Service's port, as a node would send them.
"""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any, Final, Protocol

import httpcore2
import httpx2
from tests.cluster.dialing import client_that_dials

CLUSTER_DOMAIN: Final = "cluster.local"
_TTL_S: Final = 1
_A: Final = 1
_NO_SUCH_NAME: Final = 3
_LONGEST: Final = 512


@dataclass(frozen=True, slots=True)
class PodAddress:
    """What a Service sees of a pod."""

    name: str
    ip: str
    labels: Mapping[str, str]
    ready: bool
    terminating: bool
    ports: Mapping[str, int]
    """Container ports by name."""


def endpoints(service: Mapping[str, Any], pods: Iterable[PodAddress]) -> tuple[PodAddress, ...]:
    """The pods that a Service leads to now: the ready ones, or all it selects with `publishNotReadyAddresses`."""
    selector: Mapping[str, str] = service["spec"].get("selector") or {}
    everyone = bool(service["spec"].get("publishNotReadyAddresses"))
    return tuple(
        pod
        for pod in pods
        if selector and selector.items() <= pod.labels.items() and (everyone or (pod.ready and not pod.terminating))
    )


def pod_port(service: Mapping[str, Any], port: int, pod: PodAddress) -> int:
    """Where a pod listens for a port of the Service. Raises LookupError if the Service has no such port."""
    for each in service["spec"]["ports"]:
        if each["port"] == port:
            target = each.get("targetPort", port)
            return target if isinstance(target, int) else pod.ports[target]
    raise LookupError(f"Service {service['metadata']['name']} has no port {port}")


class Services:
    """The Services of the moment and their pods; replaced whole at every change."""

    def __init__(self, random: Random) -> None:
        self._random = random
        self._services: Mapping[tuple[str, str], Mapping[str, Any]] = {}
        self._pods: tuple[PodAddress, ...] = ()
        self._turn = 0

    def replace(self, services: Iterable[Mapping[str, Any]], pods: Iterable[PodAddress]) -> None:
        """From now on these."""
        self._services = {(each["metadata"]["name"], each["metadata"]["namespace"]): each for each in services}
        self._pods = tuple(pods)

    def ready(self, name: str, namespace: str) -> tuple[PodAddress, ...]:
        """The pods behind a Service."""
        service = self._services.get((name, namespace))
        return endpoints(service, self._pods) if service is not None else ()

    def leading(self) -> list[tuple[Mapping[str, Any], tuple[PodAddress, ...]]]:
        """Every Service, and the pods that it leads to."""
        return [(each, endpoints(each, self._pods)) for each in self._services.values()]

    def resolve(self, host: str) -> list[str] | None:
        """The addresses of a fully qualified name; None if there is no such Service."""
        parts = host.rstrip(".").lower().removesuffix("." + CLUSTER_DOMAIN).split(".")
        if len(parts) != 3 or parts[2] != "svc" or (parts[0], parts[1]) not in self._services:
            return None
        service = self._services[parts[0], parts[1]]
        found = [pod.ip for pod in endpoints(service, self._pods)]
        self._random.shuffle(found)
        return found if service["spec"].get("clusterIP") == "None" else found[:1]

    def connect_to(self, host: str, port: int) -> tuple[str, int]:
        """Where the next connection to `service.namespace` goes: one ready pod after the other.

        Raises ConnectionRefusedError if nobody is ready, which is what nodes do then.
        """
        name, _, rest = host.partition(".")
        namespace = rest.partition(".")[0]
        found = self.ready(name, namespace)
        if not found:
            raise ConnectionRefusedError(f"nobody is ready behind Service {host}")
        self._turn += 1
        pod = found[self._turn % len(found)]
        return pod.ip, pod_port(self._services[name, namespace], port, pod)


class Dns:
    """The cluster's name server, on one address; in its own thread, because clients keep the loop of a test busy."""

    def __init__(self, ip: str, resolve: Callable[[str], Sequence[str] | None], port: int = 53) -> None:
        self._resolve = resolve
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ip, port))
        self._thread = threading.Thread(target=self._serve, name="dns")
        self._thread.start()

    def _serve(self) -> None:
        while True:
            data, sender = self._socket.recvfrom(_LONGEST)
            if not data:
                return
            if (answer := respond(data, self._resolve)) is not None:
                with contextlib.suppress(OSError):  # the pod has gone in the meantime
                    self._socket.sendto(answer, sender)

    def close(self) -> None:
        """Stop listening; an empty datagram wakes the thread up."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as last:
            last.sendto(b"", self._socket.getsockname())
        self._thread.join()
        self._socket.close()


def respond(query: bytes, resolve: Callable[[str], Sequence[str] | None]) -> bytes | None:
    """The answer to a question of one name; None for what is no question."""
    if len(query) < 17 or query[2] & 0x80 or struct.unpack_from("!H", query, 4)[0] != 1:
        return None
    labels: list[str] = []
    at = 12
    while length := query[at]:
        labels.append(query[at + 1 : at + 1 + length].decode("ascii", "replace"))
        at += 1 + length
    question = query[12 : at + 5]
    kind = struct.unpack_from("!H", query, at + 1)[0]
    addresses = resolve(".".join(labels))
    found = addresses if addresses is not None and kind == _A else ()
    flags = 0x8580 | (_NO_SUCH_NAME if addresses is None else 0)
    head = query[:2] + struct.pack("!HHHHH", flags, 1, len(found), 0, 0)
    records = [struct.pack("!HHHIH", 0xC00C, _A, 1, _TTL_S, 4) + socket.inet_aton(each) for each in found]
    return head + question + b"".join(records)


class Routes(Protocol):
    """Where the next connection of a client goes. Raises ConnectionRefusedError if it can go nowhere."""

    def connect_to(self, host: str, port: int) -> tuple[str, int]:
        """Address and port for a name and a Service's port."""


@dataclass(frozen=True, slots=True)
class Only:
    """Routes that lead to one pod, whatever the name."""

    ip: str
    port: int

    def connect_to(self, host: str, port: int) -> tuple[str, int]:
        """That pod."""
        return self.ip, self.port


def client_of(routes: Routes, timeout_s: float) -> httpx2.AsyncClient:
    """What the official SDK takes as `http_client`, over `http://service.namespace`.

    A connection goes where the Service leads at the moment it is made.
    """
    inner = httpcore2.AnyIOBackend()

    async def dial(host: str, port: int, within_s: float | None) -> httpcore2.AsyncNetworkStream:
        try:
            ip, to = routes.connect_to(host, port)
        except ConnectionRefusedError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return await inner.connect_tcp(ip, to, within_s)

    return client_that_dials(dial, timeout_s)
