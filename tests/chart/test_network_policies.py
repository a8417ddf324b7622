"""Who reaches which port of the pods."""

from tests.chart.rendered import Object, containers, objects, pod
from tests.chart.ways import selects, templates


def test_network_policies_let_in_pods_that_exist(found: list[Object]) -> None:
    for policy in found:
        if policy["kind"] != "NetworkPolicy":
            continue
        for rule in policy["spec"]["ingress"]:
            for peer in rule.get("from", []):
                if "podSelector" in peer:
                    wanted = peer["podSelector"]["matchLabels"]
                    assert any(selects(wanted, template["metadata"]["labels"]) for template in templates(found))


def test_each_port_lets_in_who_was_named_for_it() -> None:
    peers = {
        "clients": [{"podSelector": {"matchLabels": {"app": "shop"}}}],
        "page": [{"podSelector": {"matchLabels": {"app": "proxy"}}}],
        "monitoring": [{"namespaceSelector": {}}],
    }
    let_in = {
        (policy["metadata"]["name"], port["port"]): rule.get("from")
        for policy in objects({"networkPolicy": peers, "activity": {"enabled": True}})
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"]["ingress"]
        for port in rule["ports"]
    }
    client, test = let_in.pop(("limpet-gateway", "http"))
    assert ([client], test["podSelector"]["matchLabels"]["app.kubernetes.io/component"]) == (peers["clients"], "test")
    assert let_in.pop(("limpet-activity", "page")) == peers["page"]
    metrics = [
        ("limpet-operator", "http"),
        ("limpet-gateway", "ext-proc"),
        ("limpet-gateway", "envoy"),
        ("limpet-activity", "http"),
    ]
    assert [let_in.pop(port) for port in metrics] == [peers["monitoring"]] * 4
    # Ports with credentials and conversations are for our own pods only, whatever is listed.
    assert let_in.keys() == {("limpet-operator", "grpc"), ("limpet-redis", "redis"), ("limpet-activity", "grpc")}
    assert all("podSelector" in peer for let in let_in.values() for peer in let)


def test_probes_have_ports_that_no_policy_opens_and_metrics_are_closed_until_somebody_is_named() -> None:
    found = objects({"activity": {"enabled": True}})
    probed = {
        (deployment, container["name"], probe["httpGet"]["port"])
        for deployment in ("limpet-operator", "limpet-gateway", "limpet-activity")
        for container in containers(pod(found, deployment))
        for kind in ("startupProbe", "readinessProbe", "livenessProbe")
        if (probe := container.get(kind))
    }
    assert {port for *_, port in probed} == {"probes", "ext-proc-probes", "envoy-probes"}
    opened = {
        port["port"]
        for policy in found
        if policy["kind"] == "NetworkPolicy"
        for rule in policy["spec"]["ingress"]
        for port in rule["ports"]
    }
    assert opened == {"grpc", "http", "page", "redis"}
    (operators,) = (
        each for each in found if each["metadata"]["name"] == "limpet-operator" and each["kind"] == "NetworkPolicy"
    )
    assert [port["port"] for rule in operators["spec"]["ingress"] for port in rule["ports"]] == ["grpc"]
