"""Every object that the chart makes, for every way to install it: valid, and fitting together."""

import json
from typing import Any

import helm_python
import kubernetes_validate
import pytest
import yaml
from tests.chart.rendered import CHART, Object, containers, objects, one, pod, pretty

WAYS = {
    "default": "{}",
    "own redis": "{redis: {url: 'rediss+sentinel://s1:26379,s2:26379/mymaster/0', existingSecret: team-redis}}",
    "open redis": "{redis: {url: 'redis://cache.other.svc:6379'}}",
    "kept redis": "{redis: {bundled: {persistence: {enabled: true, size: 2Gi, storageClass: fast}}}}",
    "kept redis of one's own": "{redis: {bundled: {persistence: {enabled: true, existingClaim: mine}}}}",
    "no redis": "{redis: {bundled: {enabled: false}}, gateway: {workers: 1}}",
    "all namespaces": "{watch: {allNamespaces: true}}",
    "named namespaces": "{watch: {namespaces: [team-a, ai, team-b]}, rbac: {secretNames: [openai, deepseek]}}",
    "cert-manager": "{tls: {certManager: {enabled: true}}}",
    "own issuer": "{tls: {certManager: {enabled: true, issuerRef: {name: corp, kind: ClusterIssuer}}}}",
    "own secrets": (
        "{tls: {existingServerSecret: server-tls, existingClientSecret: client-tls,"
        " existingActivitySecret: activity-tls}, memoryKey: {existingSecret: hmac},"
        " activity: {enabled: true, replicas: 2, page: {existingSecret: page-token},"
        " postgresql: {existingSecret: records}}}"
    ),
    "rendered without a cluster": (
        "{generateSecrets: false, tls: {certManager: {enabled: true}}, memoryKey: {existingSecret: hmac},"
        " redis: {bundled: {existingSecret: team-redis}},"
        " activity: {enabled: true, page: {existingSecret: page-token}}}"
    ),
    "without activity": "{activity: {enabled: false}}",
    "records kept": (
        "{activity: {enabled: true, maxSizeMiB: 16384, persistence: {enabled: true, size: 20Gi, storageClass: fast}}}"
    ),
    "records in a claim": "{activity: {enabled: true, persistence: {enabled: true, existingClaim: records}}}",
    "from outside": (
        "{gateway: {ingress: {enabled: true, className: nginx, host: llm.example, tlsSecret: llm-tls,"
        " annotations: {a: b}}, httpRoute: {enabled: true, parentRefs: [{name: edge}], hostnames: [llm.example]}},"
        " activity: {enabled: true, ingress: {enabled: true, host: page.example}, page: {trustedUserHeader: x-user},"
        " httpRoute: {enabled: true, parentRefs: [{name: edge}], hostnames: [page.example]}}}"
    ),
    "tested": "{test: {model: small, keySecret: test-key}}",
    "autoscaled": "{gateway: {autoscaling: {enabled: true, maxReplicas: 20}}}",
    "load balancer": (
        "{gateway: {service: {type: LoadBalancer, port: 8080, nodePort: 30080, annotations: {a: b},"
        " loadBalancerSourceRanges: [10.0.0.0/8]}}}"
    ),
    "watched": (
        "{serviceMonitor: {enabled: true, labels: {release: prometheus}}, grafanaDashboard: {enabled: true},"
        " networkPolicy: {clients: [{namespaceSelector: {matchLabels: {team: a}}}],"
        " monitoring: [{namespaceSelector: {matchLabels: {team: sre}}}]}}"
    ),
    "bare": "{networkPolicy: {enabled: false}, podDisruptionBudget: {enabled: false}}",
    "placed": (
        "{imagePullSecrets: [{name: pull}], podAnnotations: {rolled: '1'}, podLabels: {team: ai},"
        " nodeSelector: {disk: ssd}, tolerations: [{key: a, operator: Exists}], priorityClassName: high,"
        " affinity: {nodeAffinity: {}},"
        " topologySpreadConstraints: [{maxSkew: 2, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}]}"
    ),
    "pinned": (
        "{image: {repository: registry.example:5000/team/limpet, tag: '2', digest: 'sha256:"
        + "0" * 64
        + "', pullPolicy: Always},"
        " operator: {extraEnv: [{name: A, value: b}]}, gateway: {extraEnv: [{name: C, value: d}]}}"
    ),
    "renamed": "{fullnameOverride: edge, nameOverride: llm}",
}
OTHERS = ("Issuer", "Certificate", "ServiceMonitor", "HTTPRoute")
"""Kinds of others, whose schemas are not Kubernetes's."""
BROUGHT = {
    "team-redis",
    "server-tls",
    "client-tls",
    "activity-tls",
    "hmac",
    "page-token",
    "records",
    "llm-tls",
    "test-key",
}
"""Secrets of those who install."""


@pytest.fixture(params=WAYS, scope="module")
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(WAYS[request.param])
    return parsed


@pytest.fixture(scope="module")
def found(values: dict[str, Any]) -> list[Object]:
    return objects(values)


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def templates(found: list[Object]) -> list[Object]:
    """Of Deployments, and the pod of `helm test`."""
    pods = [entry for entry in found if entry["kind"] == "Pod"]
    return [entry["spec"]["template"] for entry in found if entry["kind"] == "Deployment"] + pods


def test_helm_has_nothing_against_it(values: dict[str, Any]) -> None:
    report = helm_python.lint(CHART, values, strict=True, namespace="ai")
    assert report["errors"] == [], pretty(report["messages"])
    assert [message for message in report["messages"] if message["severity"] > 1] == []


def test_every_object_is_valid() -> None:
    unlike = {
        json.dumps(entry, sort_keys=True): entry
        for way in WAYS.values()
        for entry in objects(yaml.safe_load(way))
        if entry["kind"] not in OTHERS
    }
    for entry in unlike.values():
        kubernetes_validate.validate(entry, "1.36", strict=True)


def test_no_two_objects_are_the_same_one(found: list[Object]) -> None:
    keys = [(entry["kind"], entry["metadata"].get("namespace"), entry["metadata"]["name"]) for entry in found]
    assert len(keys) == len(set(keys)), sorted(keys)


def test_everything_is_labelled_and_in_its_place(found: list[Object], values: dict[str, Any]) -> None:
    foreign = {"ai", *values.get("watch", {}).get("namespaces", [])}
    for entry in found:
        labels = entry["metadata"]["labels"]
        assert {"app.kubernetes.io/name", "app.kubernetes.io/instance", "app.kubernetes.io/component"} <= set(labels)
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        if entry["kind"] in ("ClusterRole", "ClusterRoleBinding"):
            assert values["watch"]["allNamespaces"]
        elif entry["kind"] in ("Role", "RoleBinding"):
            assert entry["metadata"]["namespace"] in foreign
        else:
            assert entry["metadata"]["namespace"] == "ai"
        assert "helm.sh/resource-policy" not in entry["metadata"].get("annotations", {}), "uninstall would leave it"


def test_selectors_find_the_pods_of_one_deployment_and_ports_exist(found: list[Object]) -> None:
    pods = templates(found)
    for entry in found:
        spec = entry.get("spec", {})
        if entry["kind"] == "Deployment":
            selector, ports = spec["selector"]["matchLabels"], []
            assert "app.kubernetes.io/version" not in selector, "a selector can't change with an upgrade"
        elif entry["kind"] == "Service":
            selector, ports = spec["selector"], [port["targetPort"] for port in spec["ports"]]
        elif entry["kind"] == "PodDisruptionBudget":
            selector, ports = spec["selector"]["matchLabels"], []
        elif entry["kind"] == "NetworkPolicy":
            selector = spec["podSelector"]["matchLabels"]
            ports = [port["port"] for rule in spec["ingress"] for port in rule["ports"]]
        else:
            continue
        (match,) = [template for template in pods if selects(selector, template["metadata"]["labels"])]
        named = {port["name"] for each in containers(match) for port in each.get("ports", [])}
        assert set(ports) <= named


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


def test_service_monitors_find_one_service_each_and_its_ports(found: list[Object]) -> None:
    for monitor in found:
        if monitor["kind"] != "ServiceMonitor":
            continue
        (service,) = [
            entry
            for entry in found
            if entry["kind"] == "Service"
            and selects(monitor["spec"]["selector"]["matchLabels"], entry["metadata"]["labels"])
        ]
        named = {port["name"] for port in service["spec"]["ports"]}
        assert {endpoint["port"] for endpoint in monitor["spec"]["endpoints"]} == named


def test_what_pods_mount_and_run_as_is_in_the_release_or_brought_along(found: list[Object]) -> None:
    def names(kind: str) -> set[str]:
        return {entry["metadata"]["name"] for entry in found if entry["kind"] == kind}

    issued = {entry["spec"]["secretName"] for entry in found if entry["kind"] == "Certificate"}
    for template in templates(found):
        spec = template["spec"]
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        for volume in volumes.values():
            if "secret" in volume:
                assert volume["secret"]["secretName"] in names("Secret") | issued | BROUGHT
            if "configMap" in volume:
                assert volume["configMap"]["name"] in names("ConfigMap")
        mounts = [mount["name"] for each in containers(template) for mount in each["volumeMounts"]]
        assert set(mounts) == set(volumes)
        assert spec.get("serviceAccountName", "default") in names("ServiceAccount") | {"default"}


def test_keys_that_are_picked_from_secrets_are_in_them(found: list[Object]) -> None:
    data = {entry["metadata"]["name"]: set(entry["data"]) for entry in found if entry["kind"] == "Secret"}
    for template in templates(found):
        for volume in template["spec"]["volumes"]:
            secret = volume.get("secret", {})
            picked = {item["key"] for item in secret.get("items", [])}
            assert picked <= data.get(secret.get("secretName"), picked)


def test_no_pod_may_do_more_than_it_must(found: list[Object]) -> None:
    for template in templates(found):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for each in containers(template):
            assert each["securityContext"]["readOnlyRootFilesystem"] is True
            assert each["securityContext"]["allowPrivilegeEscalation"] is False
            assert each["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert "requests" in each["resources"]


def test_only_the_operator_has_a_token(found: list[Object]) -> None:
    tokens = {
        template["metadata"]["labels"]["app.kubernetes.io/component"]: template["spec"]["automountServiceAccountToken"]
        for template in templates(found)
    }
    assert {component for component, mounted in tokens.items() if mounted} == {"operator"}


def test_a_pods_own_wishes_reach_all_pods() -> None:
    for template in templates(objects(yaml.safe_load(WAYS["placed"]))):
        spec = template["spec"]
        assert template["metadata"]["annotations"]["rolled"] == "1"
        assert template["metadata"]["labels"]["team"] == "ai"
        assert spec["nodeSelector"] == {"disk": "ssd"}
        assert spec["priorityClassName"] == "high"
        assert spec["imagePullSecrets"] == [{"name": "pull"}]
        (constraint,) = spec["topologySpreadConstraints"]
        assert selects(constraint["labelSelector"]["matchLabels"], template["metadata"]["labels"])


def test_images_are_pinned_by_digest_where_one_is_given() -> None:
    template = pod(objects(yaml.safe_load(WAYS["pinned"])), "limpet-operator")
    assert containers(template)[0]["image"] == "registry.example:5000/team/limpet:2@sha256:" + "0" * 64


def test_gateway_pods_roll_when_envoys_file_changes_and_not_for_new_certificates() -> None:
    def annotations(values: dict[str, Any], namespace: str) -> dict[str, str]:
        template = pod(objects(values, namespace=namespace), "limpet-gateway")
        found: dict[str, str] = template["metadata"]["annotations"]
        return found

    # Each rendering makes new certificates.
    assert annotations({}, "ai") == annotations({}, "ai")
    assert annotations({}, "ai") != annotations({}, "prod")


def test_the_longest_names_still_fit() -> None:
    for entry in objects(name="r" * 53, namespace="n" * 63):
        if entry["kind"] in ("Service", "Deployment", "Role", "ServiceAccount"):
            assert len(entry["metadata"]["name"]) <= 63


PODS = ("operator", "gateway", "redis", "activity")


def for_one(component: str, values: dict[str, Any]) -> dict[str, Any]:
    """The same values for the pods of one component."""
    if component == "redis":
        return {"redis": {"bundled": values}, "activity": {"enabled": True}}
    return {"activity": {"enabled": True}} | {
        component: {"enabled": True, **values} if component == "activity" else values
    }


@pytest.mark.parametrize("component", PODS)
def test_each_component_may_have_wishes_of_its_own(component: str) -> None:
    wishes: dict[str, Any] = {
        "podAnnotations": {"a": "own"},
        "podLabels": {"team": "own"},
        "nodeSelector": {"disk": "own"},
        "tolerations": [{"key": "own", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [{"maxSkew": 9, "topologyKey": "own", "whenUnsatisfiable": "DoNotSchedule"}],
        "priorityClassName": "own",
        "podSecurityContext": {"runAsUser": 1_000_680_000, "supplementalGroups": [5555]},
        "securityContext": {"readOnlyRootFilesystem": False},
    }
    common = {"podAnnotations": {"a": "all", "b": "all"}, "nodeSelector": {"disk": "all"}, "priorityClassName": "all"}
    found = objects({**common, **for_one(component, wishes)})
    for each in found:
        kubernetes_validate.validate(each, "1.36", strict=True)
    for other in PODS:
        template, whose = pod(found, f"limpet-{other}"), "own" if other == component else "all"
        spec = template["spec"]
        assert spec["nodeSelector"] == {"disk": whose}
        assert spec["priorityClassName"] == whose
        annotations = template["metadata"]["annotations"]
        assert (annotations["a"], annotations["b"]) == (whose, "all")
        assert spec["securityContext"]["runAsUser"] == (1_000_680_000 if whose == "own" else 65532)
        assert spec["securityContext"]["fsGroup"] == 65532
        assert ("tolerations" in spec, "affinity" in spec) == (whose == "own", whose == "own")
        assert template["metadata"]["labels"].get("team") == ("own" if whose == "own" else None)
        assert next(each["securityContext"]["readOnlyRootFilesystem"] for each in containers(template)) == (
            whose == "all"
        )
        (first, *_) = spec["topologySpreadConstraints"]
        assert (first["maxSkew"] == 9) == (whose == "own")
        assert selects(first["labelSelector"]["matchLabels"], template["metadata"]["labels"])


IDS = ("runAsUser", "runAsGroup", "fsGroup")


def admitted_by_openshift(template: Object) -> list[str]:
    """What the SCC restricted-v2 has against a pod: it gives ids itself, and takes no others."""
    pod_context = template["spec"]["securityContext"]
    against = [f"{key} is given" for key in IDS if pod_context.get(key) is not None]
    if pod_context.get("seccompProfile") not in (None, {"type": "RuntimeDefault"}):
        against.append("seccompProfile")
    against += [
        f"volume {volume['name']}"
        for volume in template["spec"]["volumes"]
        if not {"configMap", "emptyDir", "secret", "projected", "csi", "downwardAPI"} & set(volume)
    ]
    for each in containers(template):
        context = each["securityContext"]
        against += [f"{key} is given" for key in IDS if context.get(key) is not None]
        if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
            against.append(f"{each['name']} asks for privileges")
        if context["capabilities"].get("add") or "ALL" not in context["capabilities"]["drop"]:
            against.append(f"{each['name']} keeps capabilities")
        against += [f"{each['name']} wants a port of the node" for port in each.get("ports", []) if "hostPort" in port]
    return against


@pytest.mark.parametrize(
    "values",
    [
        {"podSecurityContext": dict.fromkeys(IDS)},
        {
            "operator": {"podSecurityContext": dict.fromkeys(IDS)},
            "gateway": {"podSecurityContext": dict.fromkeys(IDS)},
            "redis": {"bundled": {"podSecurityContext": dict.fromkeys(IDS)}},
            "activity": {"podSecurityContext": dict.fromkeys(IDS)},
            "test": {"podSecurityContext": dict.fromkeys(IDS)},
        },
    ],
    ids=["all pods", "each component"],
)
def test_where_the_platform_gives_ids_ours_can_be_dropped(values: dict[str, Any]) -> None:
    assert all(admitted_by_openshift(template) for template in templates(objects()))
    for template in templates(objects(values)):
        assert admitted_by_openshift(template) == []
        assert template["spec"]["securityContext"]["runAsNonRoot"] is True


@pytest.mark.parametrize("component", ["operator", "gateway", "activity"])
def test_a_service_account_can_be_somebody_in_the_cloud(component: str) -> None:
    account = {
        "annotations": {"iam.gke.io/gcp-service-account": "x@y"},
        "labels": {"azure.workload.identity/use": "true"},
    }
    found = objects(for_one(component, {"serviceAccount": account}))
    metadata = one(found, "ServiceAccount", f"limpet-{component}")["metadata"]
    assert metadata["annotations"] == account["annotations"]
    assert metadata["labels"].items() >= account["labels"].items()
    assert metadata["labels"]["app.kubernetes.io/component"] == component


def test_a_service_can_have_both_families() -> None:
    families = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    spec = one(objects({"gateway": {"service": families}}), "Service", "limpet-gateway")["spec"]
    assert spec.items() >= families.items()
    assert not {"ipFamilyPolicy", "ipFamilies"} & set(one(objects(), "Service", "limpet-gateway")["spec"])
