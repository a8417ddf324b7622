"""What the chart starts is what our programs take: every flag is one of theirs, with the value that was set."""

import shlex
from pathlib import Path
from typing import Any

import pytest
from tests.chart.rendered import container, objects, pod

from limpet_activity.process.flags import parse as parse_activity
from limpet_extproc.contract.host_port import HostPort
from limpet_extproc.process.flags import parse
from limpet_extproc.process.settings import SupervisorSettings
from limpet_operator.pod.settings import parse_settings
from limpet_operator.publish.envoy_settings import MIB

ENVIRONMENT = {"POD_NAME": "pod-1", "POD_NAMESPACE": "ai", "POD_IP": "10.0.0.1"}


def command(values: dict[str, Any], deployment: str, name: str) -> list[str]:
    """As Kubernetes would start it: `$(NAME)` replaced by the container's environment."""
    started = container(pod(objects(values), deployment), name)
    line = shlex.join([*started["command"], *started["args"]])
    for entry in started.get("env", ()):
        line = line.replace(f"$({entry['name']})", ENVIRONMENT.get(entry["name"], ""))
    assert "$(" not in line
    return shlex.split(line)


def test_the_operator_is_told_all_that_was_set() -> None:
    values = {
        "watch": {"namespaces": ["a", "b"]},
        "gateway": {"workers": 3, "bodyLimitMiB": 8, "cors": {"origins": ["https://chat.example", "*"]}},
        "operator": {"drainSeconds": 20, "logLevel": "debug"},
    }
    python, dash_m, module, *arguments = command(values, "limpet-operator", "operator")
    assert (python, dash_m, module) == ("python", "-m", "limpet_operator")
    settings = parse_settings(arguments, ENVIRONMENT)
    assert settings.namespaces == ("a", "b")
    assert settings.lease == ("ai", "limpet-operator")
    assert settings.identity == "pod-1"
    assert settings.listen == "[::]:18000"
    assert settings.tls_dir == Path("/etc/limpet/tls")
    assert settings.gateway_name == "limpet-gateway.ai.svc"
    assert settings.peers == HostPort("limpet-operator-peers.ai.svc", 18000)
    assert (settings.http, settings.probes) == (HostPort("::", 8081), HostPort("::", 8082))
    assert settings.envoy.listen_host == "::"
    assert (settings.drain_s, settings.log_level) == (20.0, "debug")
    assert settings.envoy.listen_port == 10000
    assert settings.envoy.body_limit_bytes == 8 * MIB
    assert settings.envoy.cors_origins == ("https://chat.example", "*")
    assert settings.envoy.extproc_sockets == tuple(f"/run/limpet/extproc-{number}.sock" for number in range(3))


def test_it_can_be_told_to_watch_everything() -> None:
    arguments = command({"watch": {"allNamespaces": True}}, "limpet-operator", "operator")[3:]
    assert parse_settings(arguments, ENVIRONMENT).namespaces == ()


@pytest.mark.parametrize(
    ("redis", "url", "credentials"),
    [
        ({}, "redis://limpet-redis.ai.svc:6379/0", "/etc/limpet/redis"),
        ({"url": "rediss://r:6380/1", "existingSecret": "s"}, "rediss://r:6380/1", "/etc/limpet/redis"),
        ({"url": "redis+cluster://r1:6379,r2:6379"}, "redis+cluster://r1:6379,r2:6379", None),
        ({"bundled": {"enabled": False}}, None, None),
    ],
)
def test_ext_proc_is_told_all_that_was_set(redis: dict[str, Any], url: str | None, credentials: str | None) -> None:
    workers = 4 if url else 1
    values = {"redis": redis, "gateway": {"workers": workers, "logLevel": "warning", "extprocServer": "grpcio"}}
    python, dash_m, module, *arguments = command(values, "limpet-gateway", "ext-proc")
    assert (python, dash_m, module) == ("python", "-m", "limpet_extproc")
    settings = parse(arguments)
    assert isinstance(settings, SupervisorSettings)
    assert (settings.redis_url, settings.redis_credentials) == (url, credentials and Path(credentials))
    assert (settings.socket_dir, settings.workers) == (Path("/run/limpet"), workers)
    assert settings.control_plane == "dns:///limpet-operator.ai.svc:18000"
    assert settings.tls_dir == Path("/etc/limpet/tls")
    assert settings.node == "pod-1"
    assert settings.memory_key_file == Path("/etc/limpet/memory-key/key")
    assert (settings.http, settings.probes) == (HostPort("::", 9100), HostPort("::", 9101))
    assert (settings.log_level, settings.server) == ("warning", "grpcio")


def test_envoy_and_ext_proc_say_the_same_name() -> None:
    envoy = command({}, "limpet-gateway", "envoy")
    assert envoy[envoy.index("--service-node") + 1] == "pod-1"
    assert envoy[envoy.index("--service-cluster") + 1] == "limpet"


@pytest.mark.parametrize("path", ["/etc/limpet/redis", "/etc/limpet/tls", "/etc/limpet/memory-key", "/run/limpet"])
def test_what_the_flags_name_is_mounted(path: str) -> None:
    ext_proc = container(pod(objects(), "limpet-gateway"), "ext-proc")
    assert path in {mount["mountPath"] for mount in ext_proc["volumeMounts"]}


def test_the_activity_service_is_told_all_that_was_set(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("a-token-of-forty-characters")
    values = {"activity": {"retentionDays": 7, "maxSizeMiB": 128, "page": {"hosts": ["llm.example"]}}}
    python, dash_m, module, *arguments = command(values, "limpet-activity", "activity")
    assert (python, dash_m, module) == ("python", "-m", "limpet_activity")
    settings = parse_activity([each.replace("/etc/limpet/page/token", str(token)) for each in arguments])
    assert settings.store is not None
    assert settings.store.database == "/var/lib/limpet/activity.sqlite3"
    assert (settings.listen, settings.page) == (("[::]:18100",), HostPort("::", 8600))
    assert (settings.http, settings.probes) == (HostPort("::", 8081), HostPort("::", 8082))
    assert (settings.tls_dir, settings.gateway_name) == (Path("/etc/limpet/tls"), "limpet-gateway.ai.svc")
    assert (settings.limits.days, settings.limits.max_bytes) == (7, 128 * 2**20)
    assert settings.page_settings is not None
    assert {"limpet-page.ai.svc", "llm.example"} <= settings.page_settings.allowed_hosts


def test_workers_hand_their_records_to_it() -> None:
    _, _, _, *arguments = command({}, "limpet-gateway", "ext-proc")
    settings = parse(arguments)
    assert settings.activity == "dns:///limpet-activity.ai.svc:18100"
    _, _, _, *arguments = command({"activity": {"enabled": False}}, "limpet-gateway", "ext-proc")
    assert parse(arguments).activity is None
