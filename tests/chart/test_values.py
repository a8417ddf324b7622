"""What can be set: documented whole, and refused with a message that helps where it can't be right."""

from typing import Any

import helm_python
import pytest
import yaml
from tests.chart.rendered import CHART, files, loaded
from tests.chart.values_table import rows, table

VALUES = (CHART / "values.yaml").read_text()


def test_the_readme_tells_of_every_value_and_its_default() -> None:
    assert table(VALUES) in (CHART / "README.md").read_text()
    assert [row.path for row in rows(VALUES) if not row.meaning] == []


def test_the_schema_knows_every_value_and_no_other() -> None:
    schema = loaded().schema
    assert schema

    def paths(node: dict[str, Any], prefix: str = "") -> set[str]:
        node = schema["$defs"][node["$ref"].rpartition("/")[2]] if "$ref" in node else node
        below = node.get("properties", {})
        closed = node.get("additionalProperties") is False
        if not (below and closed) or prefix.endswith((".resources.", ".issuerRef.")):
            return {prefix.removesuffix(".")}
        return {path for name, child in below.items() for path in paths(child, f"{prefix}{name}.")}

    assert paths(schema) - {"global"} == {row.path for row in rows(VALUES)}


def nested(path: str, value: object) -> dict[str, Any]:
    """`a.b` and 1 make {"a": {"b": 1}}."""
    for key in reversed(path.split(".")):
        value = {key: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("listenAddress", "all", "at '/listenAddress': 'all' does not match pattern"),
        ("envoy.maxConnections", 10, "at '/envoy/maxConnections': minimum: got 10, want 100"),
        ("gateway.replicas", "two", "at '/gateway/replicas': got string, want integer"),
        ("gateway.workers", 0, "at '/gateway/workers': minimum: got 0, want 1"),
        ("operator.replicas", 0, "at '/operator/replicas': minimum: got 0, want 1"),
        ("operatr", {}, "additional properties 'operatr' not allowed"),
        ("gateway.extprocServer", "grpc", "at '/gateway/extprocServer': value must be one of 'own', 'grpcio'"),
        ("gateway.worker", 2, "at '/gateway': additional properties 'worker' not allowed"),
        ("envoy.logLevel", "loud", "at '/envoy/logLevel': value must be one of 'trace', 'debug'"),
        ("operator.logLevel", "warn", "value must be one of 'debug', 'info', 'warning', 'error'"),
        ("gateway.service.type", "clusterip", "value must be one of 'ClusterIP', 'NodePort', 'LoadBalancer'"),
        ("gateway.service.port", 70000, "at '/gateway/service/port': maximum: got 70,000, want 65,535"),
        ("gateway.service.loadBalancerSourceRanges", ["10.0.0.1"], "at '/gateway/service/loadBalancerSourceRanges/0'"),
        ("gateway.extraEnv", [{"value": "1"}], "at '/gateway/extraEnv/0': missing property 'name'"),
        ("image.digest", "sha256:12", "at '/image/digest': 'sha256:12' does not match pattern"),
        ("image.repository", "Limpet Image", "at '/image/repository'"),
        ("mesh.istio.hosts", ["http://llm.internal"], "at '/mesh/istio/hosts/0': 'http://llm.internal' does not match"),
        ("mesh.istio.hosts", ["a..b"], "at '/mesh/istio/hosts/0': 'a..b' does not match pattern"),
        ("mesh.istio.hosts", ["10.0.0.1"], "at '/mesh/istio/hosts/0': 'not' failed"),
        ("redis.url", "localhost:6379", "at '/redis/url': 'localhost:6379' does not match pattern"),
        ("redis.url", "rediss+cluster:/r:6379", "at '/redis/url'"),
        ("watch.namespaces", ["Team_A"], "at '/watch/namespaces/0': 'Team_A' does not match pattern"),
        ("watch.namespaces", ["a", "a"], "at '/watch/namespaces': items at 0 and 1 are equal"),
        ("fullnameOverride", "1st", "at '/fullnameOverride'"),
        ("podAnnotations", {"a": 1}, "at '/podAnnotations/a': got number, want string"),
        ("serviceMonitor.interval", "30", "at '/serviceMonitor/interval': '30' does not match pattern"),
        ("gateway.resources", {"limit": {}}, "additional properties 'limit' not allowed"),
        ("tls.validityDays", 0, "at '/tls/validityDays': minimum: got 0, want 1"),
    ],
)
def test_a_wrong_value_is_named(path: str, value: object, expected: str) -> None:
    with pytest.raises(helm_python.HelmValuesError) as refused:
        files(nested(path, value))
    assert expected in str(refused.value)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            "{gateway: {workers: 3}, redis: {bundled: {enabled: false}}}",
            "gateway.workers is 3, but without Redis each worker would remember other conversations: set redis.url",
        ),
        ("{watch: {allNamespaces: true, namespaces: [a]}}", "leave watch.namespaces empty to serve all"),
        ("{tls: {existingServerSecret: a}}", "belong together: set both, or none"),
        ("{tls: {existingClientSecret: a}}", "belong together: set both, or none"),
        (
            "{tls: {existingServerSecret: a, existingClientSecret: b, certManager: {enabled: true}}}",
            "either cert-manager makes the certificates or you do",
        ),
        (
            "{gateway: {drainSeconds: 60, terminationGracePeriodSeconds: 70}}",
            "gateway.terminationGracePeriodSeconds is 70, too short for gateway.drainSeconds=60: set it to 75 or more",
        ),
        (
            "{gateway: {autoscaling: {enabled: true, minReplicas: 5, maxReplicas: 3}}}",
            "gateway.autoscaling.minReplicas is 5, more than maxReplicas 3",
        ),
        (
            "{envoy: {resources: {limits: {memory: 256Mi}}}}",
            "envoy.resources.limits.memory is 256Mi, too little for bodies of gateway.bodyLimitMiB=32: set it to 361Mi",
        ),
        (
            "{generateSecrets: false, memoryKey: {existingSecret: m}}",
            "activity.page.existingSecret (or activity.enabled=false), redis.bundled.existingSecret (or redis.url)",
        ),
        (
            "{tls: {existingServerSecret: a, existingClientSecret: b}, activity: {enabled: true}}",
            "tls.existingActivitySecret is not: name a certificate for the activity service",
        ),
        ("{activity: {enabled: true, replicas: 2}}", "set activity.postgresql.existingSecret, or activity.replicas=1"),
        ("{gateway: {ingress: {enabled: true}}}", "gateway.ingress.enabled is true without gateway.ingress.host"),
        ("{gateway: {httpRoute: {enabled: true}}}", "without gateway.httpRoute.parentRefs: name the Gateway"),
        (
            "{activity: {enabled: true, httpRoute: {enabled: true, parentRefs: [{name: edge}]}}}",
            "the page answers to the names that it knows",
        ),
        ("{gateway: {service: {nodePort: 30080}}}", "set gateway.service.type to NodePort or LoadBalancer"),
        ("{redis: {existingSecret: a}}", "redis.existingSecret is set without redis.url"),
        ("{redis: {url: 'redis://u:secret@r'}}", "put them into a Secret as username and password"),
    ],
)
def test_values_that_do_not_go_together_are_explained(values: str, expected: str) -> None:
    with pytest.raises(helm_python.HelmRenderError) as refused:
        files(yaml.safe_load(values))
    assert expected in str(refused.value)
    assert "secret@r" not in str(refused.value)


NAMED = {
    "generateSecrets": False,
    "tls": {"certManager": {"enabled": True}},
    "memoryKey": {"existingSecret": "limpet-memory"},
    "redis": {"bundled": {"existingSecret": "limpet-redis-users"}},
    "activity": {"enabled": True, "page": {"existingSecret": "limpet-page-token"}},
}


def test_where_secrets_are_named_two_renderings_are_the_same() -> None:
    assert files(NAMED) == files(NAMED)
    assert "kind: Secret\n" not in "".join(files(NAMED).values())
    assert files() != files(), "the reason for it"


def test_a_secret_that_a_rendering_made_says_so_and_what_to_do_where_that_is_wrong() -> None:
    for path, text in files().items():
        if "kind: Secret\n" in text:
            assert "name your own Secrets and set generateSecrets=false" in text, path
    assert "generateSecrets=false" not in "".join(files(NAMED).values())
