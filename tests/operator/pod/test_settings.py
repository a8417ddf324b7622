"""The command line of a replica."""

from pathlib import Path

import pytest

from limpet_extproc.contract.host_port import HostPort
from limpet_operator.pod.settings import parse_settings
from limpet_operator.resources.proxy import Proxy, ProxySettings

POD = {"POD_NAME": "limpet-operator-0", "POD_NAMESPACE": "limpet-system"}
LEASE = ["--lease-namespace", "limpet-system", "--lease-name", "limpet-operator"]


def test_as_the_chart_starts_it() -> None:
    flags = [
        *("--namespace", "ai", "--namespace", "team-b", "--listen", "0.0.0.0:18000", "--tls-dir", "/etc/limpet/tls"),
        *("--gateway-name", "limpet-gateway.limpet-system.svc"),
        *("--http", "0.0.0.0:8081", "--probes", "0.0.0.0:8082"),
        *("--peers", "limpet-operator-peers.limpet-system.svc:18000"),
        *("--cors-origin", "https://chat.example", "--cors-origin", "http://localhost:*"),
        *("--gateway-host", "10.0.0.1", "--gateway-port", "10000", "--workers", "2", "--body-limit-mib", "16"),
        *("--proxy", "http://proxy.corp:3128", "--no-proxy", ".internal", "--no-proxy", "10.0.0.0/8"),
        *("--drain-seconds", "7.5", "--log-level", "debug", "--identity", "limpet-operator-0"),
    ]
    settings = parse_settings([*flags, *LEASE], POD)
    assert settings.namespaces == ("ai", "team-b")
    assert settings.lease == ("limpet-system", "limpet-operator")
    assert settings.owner == "limpet-system"
    assert settings.tls_dir == Path("/etc/limpet/tls")
    assert settings.gateway_name == "limpet-gateway.limpet-system.svc"
    assert settings.envoy.extproc_sockets == ("/run/limpet/extproc-0.sock", "/run/limpet/extproc-1.sock")
    assert settings.envoy.body_limit_bytes == 16 * 1024 * 1024
    assert settings.envoy.cors_origins == ("https://chat.example", "http://localhost:*")
    assert settings.envoy.proxies == ProxySettings(https=Proxy("proxy.corp", 3128), direct=(".internal", "10.0.0.0/8"))
    assert (settings.envoy.listen_host, settings.drain_s) == ("10.0.0.1", 7.5)
    assert (settings.http, settings.probes) == (HostPort("0.0.0.0", 8081), HostPort("0.0.0.0", 8082))
    assert settings.identity == "limpet-operator-0"


def test_sidecars_of_a_mesh() -> None:
    tls = ["--tls-dir", "/etc/limpet/tls", "--gateway-name", "limpet-gateway"]
    flags = [
        *("--namespace", "ai", *tls, "--sidecar-namespace", "shop", "--sidecar-namespace", "chat"),
        *("--credentials", "0.0.0.0:18001", "--trust-domain", "corp.example", "--tenant-from-workload"),
    ]
    settings = parse_settings(flags, POD)
    sidecars = settings.envoy.sidecars
    assert sidecars is not None
    assert (sidecars.port, sidecars.trust_domain, sidecars.namespaces) == (9443, "corp.example", ("shop", "chat"))
    assert (settings.credentials, settings.envoy.tenant_from_workload) == (HostPort("0.0.0.0", 18001), True)
    plain = parse_settings(["--namespace", "ai"], POD)
    assert (plain.envoy.sidecars, plain.credentials, plain.envoy.tenant_from_workload) == (None, None, False)


def test_a_certificate_for_clients() -> None:
    settings = parse_settings(["--namespace", "ai", *LEASE, "--gateway-tls-secret", "gateway.tls"], POD)
    assert (settings.own_namespace, settings.serving_secret) == ("limpet-system", "gateway.tls")
    assert settings.envoy.tls_port == 10443
    plain = parse_settings(["--namespace", "ai", "--gateway-tls-port", "8443"], POD)
    assert (plain.serving_secret, plain.envoy.tls_port) == (None, None)


@pytest.mark.parametrize(
    ("flags", "owner"),
    [
        (["--namespace", "ai"], None),  # one namespace: all objects are its own
        (["--namespace", "ai", "--namespace", "ai"], None),
        (["--all-namespaces"], "limpet-system"),
        (["--namespace", "ai", "--namespace", "b"], "limpet-system"),
        (["--all-namespaces", "--lease-namespace", "ops", "--lease-name", "l"], "ops"),
    ],
)
def test_who_owns_the_gateway(flags: list[str], owner: str | None) -> None:
    assert parse_settings(flags, POD).owner == owner


KEPT = ("--all-namespaces", "--lease-namespace", "ops", "--lease-name", "l")
ASIDE = ("--tls-dir", "/tls", "--gateway-name", "g", "--credentials", "[::]:18001", "--sidecar-namespace")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "say which namespaces serve this gateway: --namespace NAME (repeatable) or --all-namespaces"),
        (["--namespace", "ai", "--all-namespaces"], "say which namespaces"),
        (["--all-namespaces", "--lease-name", "l"], "--lease-name and --lease-namespace belong together"),
        (["--all-namespaces", "--sidecar-namespace", "a"], "--sidecar-namespace and --credentials belong together"),
        (["--all-namespaces", "--credentials", "[::]:1"], "--sidecar-namespace and --credentials belong together"),
        (["--all-namespaces", "--sidecar-namespace", "a", "--credentials", "[::]:1"], "--credentials needs --tls-dir"),
        (["--all-namespaces", "--sidecar-namespace", "a*"], "is not a namespace"),
        (["--all-namespaces", "--trust-domain", "a/b"], "is not a trust domain"),
        (["--all-namespaces", "--tls-dir", "/tls"], "--tls-dir and --gateway-name belong together"),
        (["--all-namespaces", "--gateway-name", "g"], "--tls-dir and --gateway-name belong together"),
        (["--all-namespaces", "--gateway-tls-secret", "a/b"], "'a/b' is not the name of a Secret"),
        (["--all-namespaces", "--istio", "egress"], "--istio needs --lease-name"),
        ([*KEPT, "--istio", "sidecar"], "--istio=sidecar needs --sidecar-namespace, whose sidecars are told, and"),
        ([*KEPT, *ASIDE, "apps", "--istio", "sidecar"], "and --istio-role"),
        ([*KEPT, *ASIDE, "ops", "--istio", "sidecar", "--istio-role", "r"], "can't be for ops, the gateway's own"),
        ([*KEPT, "--istio-role", "r*"], "'r*' is not the name of a Role"),
        ([*KEPT, "--istio-settle-seconds", "soon"], "'soon' is not a number of seconds"),
        (["--all-namespaces", "--istio-host", "*.internal"], "*.internal"),
        (["--all-namespaces", "--istio-export-to", "a*"], "'a*' is not a name"),
        (["--all-namespaces", "--workers", "0"], "'0' must be at least 1"),
        (["--all-namespaces", "--gateway-port", "70000"], "'70000' is not a port"),
        (["--namespace", "team-*"], "'team-*' is not a namespace; write one name each time"),
        (["--namespace", "a,b"], "'a,b' is not a namespace"),
        (["--all-namespaces", "--http", "8081"], "'8081' is not HOST:PORT"),
        (["--all-namespaces", "--peers", "limpet-operator-peers"], "'limpet-operator-peers' is not HOST:PORT"),
        (["--all-namespaces", "--drain-seconds", "-1"], "'-1' is not a number of seconds"),
        (["--all-namespaces", "--drain-seconds", "nan"], "'nan' is not a number of seconds"),
        (
            ["--all-namespaces", "--proxy", "http://user:word@proxy:3128"],
            "not a proxy that can be used; write http://HOST:PORT",
        ),
        (["--all-namespaces", "--cors-origin", "chat.example"], "'chat.example' is not an origin"),
        (["--all-namespaces", "--log-level", "loud"], "invalid choice: 'loud'"),
    ],
)
def test_a_wrong_flag_is_explained(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_settings(flags, POD)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_outside_of_a_cluster_the_workers_may_be_elsewhere() -> None:
    settings = parse_settings(["--all-namespaces", "--extproc-dir", "/tmp/bench"], {})
    assert settings.envoy.extproc_sockets == ("/tmp/bench/extproc-0.sock",)
