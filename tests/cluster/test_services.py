"""Names lead where a cluster's would."""

import socket
import struct
from random import Random
from typing import Any

import pytest
from tests.cluster.services import PodAddress, Services, respond


def pod(number: int, *, ready: bool = True, terminating: bool = False) -> PodAddress:
    return PodAddress(f"pod-{number}", f"10.222.1.{number}", {"app": "web"}, ready, terminating, {"http": 8080})


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": "http"}]
    return {"metadata": {"name": name, "namespace": "ai"}, "spec": {"selector": {"app": "web"}, "ports": ports, **spec}}


@pytest.fixture
def services() -> Services:
    made = Services(Random(1))
    made.replace(
        [
            service("one", clusterIP="10.0.0.7"),
            service("each", clusterIP="None"),
            service("all", clusterIP="None", publishNotReadyAddresses=True),
            service("none", selector={"app": "other"}),
        ],
        [pod(1), pod(2), pod(3, ready=False), pod(4, terminating=True)],
    )
    return made


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("each.ai.svc", ["10.222.1.1", "10.222.1.2"]),
        ("EACH.ai.svc.cluster.local.", ["10.222.1.1", "10.222.1.2"]),
        ("all.ai.svc", ["10.222.1.1", "10.222.1.2", "10.222.1.3", "10.222.1.4"]),
        ("none.ai.svc", []),
        ("each.elsewhere.svc", None),
        ("api.example.com", None),
    ],
)
def test_who_a_name_leads_to(services: Services, host: str, expected: list[str] | None) -> None:
    found = services.resolve(host)
    assert (None if found is None else sorted(found)) == expected


def test_clients_go_to_one_ready_pod_after_the_other(services: Services) -> None:
    assert {services.connect_to("one.ai", 80) for _ in range(4)} == {("10.222.1.1", 8080), ("10.222.1.2", 8080)}
    with pytest.raises(ConnectionRefusedError, match="nobody is ready"):
        services.connect_to("none.ai", 80)
    with pytest.raises(LookupError, match="has no port 81"):
        services.connect_to("one.ai", 81)


def question(name: str, kind: int = 1) -> bytes:
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    return struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)


def test_the_name_server_speaks_dns(services: Services) -> None:
    answer = respond(question("one.ai.svc"), services.resolve)
    assert answer is not None
    assert struct.unpack_from("!HHHHHH", answer) == (7, 0x8580, 1, 1, 0, 0)
    assert socket.inet_ntoa(answer[-4:]) in {"10.222.1.1", "10.222.1.2"}
    ipv6 = respond(question("one.ai.svc", 28), services.resolve)
    assert ipv6 is not None
    assert struct.unpack_from("!HHHHHH", ipv6)[3] == 0
    nobody = respond(question("nobody.ai.svc"), services.resolve)
    assert nobody is not None
    assert nobody[3] & 0xF == 3
    assert respond(b"\0" * 8, services.resolve) is None
