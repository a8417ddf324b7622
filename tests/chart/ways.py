"""Every way to install the chart, and what else the tests of its objects share."""

from tests.chart.rendered import Object

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
    "asked by sidecars": "{mesh: {sidecars: {namespaces: [apps, shop]}}, tls: {certManager: {enabled: true}}}",
    "meshed": "{mesh: {istio: {enabled: true, hosts: [llm.internal], exportTo: [apps], wholeCluster: false}}}",
    "meshed, cluster": "{fullnameOverride: llm, mesh: {istio: {enabled: true}}}",
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


def selects(selector: dict[str, str], labels: dict[str, str]) -> bool:
    return selector.items() <= labels.items()


def templates(found: list[Object]) -> list[Object]:
    """Of Deployments, and the pod of `helm test`."""
    pods = [entry for entry in found if entry["kind"] == "Pod"]
    return [entry["spec"]["template"] for entry in found if entry["kind"] == "Deployment"] + pods
