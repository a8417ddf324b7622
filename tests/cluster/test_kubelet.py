"""The kubelet of the test world does what a real one would with a Deployment, as far as tests of charts look at it."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest_asyncio
from tests.cluster.images import local_images
from tests.cluster.kubelet import Kubelet
from tests.cluster.pods import Network

from limpet_lab.kubernetes.apiserver import ApiServer

SERVER = r"""
import http.server, json, os, pathlib, signal, socket, sys, threading, time
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        path, status, said = self.path, 200, {}
        if path == "/ready":
            status = 200 if pathlib.Path("/data/ready").exists() else 503
        elif path.startswith("/file"):
            said = {"text": pathlib.Path(path.removeprefix("/file")).read_text()}
        elif path.startswith("/resolve/"):
            try:
                found = socket.getaddrinfo(path.removeprefix("/resolve/"), 80, socket.AF_INET, socket.SOCK_STREAM)
                said = {"ips": sorted(each[4][0] for each in found)}
            except socket.gaierror as error:
                said = {"ips": [], "error": str(error)}
        elif path == "/self":
            said = {"env": dict(os.environ), "argv": sys.argv[1:], "pid": os.getpid(), "host": socket.gethostname(),
                    "user": os.getuid(), "root": os.listdir("/"),
                    "caps": [line for line in open("/proc/self/status") if line.startswith(("CapEff", "NoNewPrivs"))]}
            try:
                pathlib.Path("/etc/new").write_text("x")
                said["wrote"] = True
            except OSError as error:
                said["wrote"] = error.strerror
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words):
        pass
def end(*_):
    pathlib.Path("/data/log").open("a").write("TERM\n")
    os._exit(0)
signal.signal(signal.SIGTERM, end)
http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Answer).serve_forever()
"""


def container(**more: Any) -> dict[str, Any]:
    return {
        "name": "web",
        "image": "registry.example/team/limpet:1.0",
        "command": ["python", "-c", SERVER],
        "args": ["--name=$(POD_NAME)", "$$(POD_NAME)", "$(NOBODY)"],
        "env": [
            {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "BOTH", "value": "$(POD_NAME)@$(POD_IP)"},
            {"name": "PASSWORD", "valueFrom": {"secretKeyRef": {"name": "held", "key": "password"}}},
        ],
        "ports": [{"name": "http", "containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/ready", "port": "http"}, "periodSeconds": 1, "failureThreshold": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}, {"name": "held", "mountPath": "/etc/limpet/held"}],
        "securityContext": {
            "readOnlyRootFilesystem": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        **more,
    }


def deployment(replicas: int = 1, pod: dict[str, Any] | None = None, **web: Any) -> dict[str, Any]:
    labels = {"app.kubernetes.io/component": "web"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web"},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "serviceAccountName": "web",
                    "terminationGracePeriodSeconds": 5,
                    "volumes": [
                        {"name": "data", "emptyDir": {}},
                        {"name": "held", "secret": {"secretName": "held"}},
                    ],
                    "initContainers": [
                        {
                            "name": "prepare",
                            "image": "limpet",
                            "command": ["sh", "-c", "echo prepared > /data/log; touch /data/ready"],
                            "volumeMounts": [{"name": "data", "mountPath": "/data"}],
                        }
                    ],
                    "containers": [container(**web)],
                    **(pod or {}),
                },
            },
        },
    }


def service(name: str, **spec: Any) -> dict[str, Any]:
    ports = [{"port": 80, "targetPort": "http"}]
    selector = {"app.kubernetes.io/component": "web"}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": selector, "ports": ports, **spec},
    }


def secret(password: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "held"}, "stringData": {"password": password}}


ACCOUNT = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "web"}}


@pytest_asyncio.fixture
async def kubelet(apiserver: ApiServer, namespace: str, network: Network, tmp_path: Path) -> AsyncIterator[Kubelet]:
    apiserver.apply(ACCOUNT, secret("first"), namespace=namespace).ok()
    async with Kubelet.start(apiserver, namespace, tmp_path, network, local_images()) as running:
        yield running


async def settled(kubelet: Kubelet) -> None:
    await kubelet.look()

    async def is_so() -> bool:
        return kubelet.settled()

    await kubelet.until(is_so, "all pods as the Deployment wants them")


async def asked(kubelet: Kubelet, path: str, number: int = 0) -> Any:
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://{kubelet.pods()[number].ip}:8080{path}")).json()


async def test_a_container_sees_what_its_deployment_says(apiserver: ApiServer, kubelet: Kubelet) -> None:
    apiserver.apply(deployment(), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    pod = kubelet.pods()[0]
    seen = await asked(kubelet, "/self")
    assert seen["argv"] == [f"--name={pod.name}", "$(POD_NAME)", "$(NOBODY)"]
    assert seen["env"]["BOTH"] == f"{pod.name}@{pod.ip}"
    assert seen["env"]["PASSWORD"] == "first"
    assert seen["pid"] == 1
    assert seen["host"] == pod.name
    assert seen["wrote"] == "Read-only file system"
    assert seen["caps"] == ["CapEff:\t0000000000000000\n", "NoNewPrivs:\t1\n"]
    assert await asked(kubelet, "/file/etc/limpet/held/password") == {"text": "first"}
    token = (await asked(kubelet, "/file/var/run/secrets/kubernetes.io/serviceaccount/token"))["text"]
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    reviewed = apiserver.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", content=review).json()
    assert reviewed["status"]["user"]["username"] == f"system:serviceaccount:{kubelet.namespace}:web"


async def test_kubectl_sees_the_rollout_and_the_pods(apiserver: ApiServer, kubelet: Kubelet) -> None:
    apiserver.apply(deployment(2), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    said = await asyncio.to_thread(
        apiserver.kubectl, "-n", kubelet.namespace, "rollout", "status", "deployment/web", "--timeout=20s"
    )
    assert "successfully rolled out" in said.ok()
    listed = apiserver.kubectl("-n", kubelet.namespace, "get", "pods", "--no-headers").ok().splitlines()
    assert [line.split()[1:3] for line in listed] == [["1/1", "Running"]] * 2


async def test_a_changed_secret_reaches_the_volume(apiserver: ApiServer, kubelet: Kubelet) -> None:
    apiserver.apply(deployment(), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    apiserver.apply(secret("second"), namespace=kubelet.namespace).ok()

    async def changed() -> bool:
        return await asked(kubelet, "/file/etc/limpet/held/password") == {"text": "second"}

    await kubelet.until(changed, "the new password")


async def test_a_pod_waits_for_a_secret_that_is_not_there(apiserver: ApiServer, kubelet: Kubelet) -> None:
    apiserver.kubectl("-n", kubelet.namespace, "delete", "secret", "held").ok()
    apiserver.apply(deployment(), namespace=kubelet.namespace).ok()

    async def waits() -> bool:
        return any(pod.waiting_for == "there is no Secret held" for pod in kubelet.pods())

    await kubelet.until(waits, "a pod that waits")
    apiserver.apply(secret("late"), namespace=kubelet.namespace).ok()
    await settled(kubelet)


async def test_names_of_services_lead_to_ready_pods(apiserver: ApiServer, kubelet: Kubelet) -> None:
    services = (
        service("one"),
        service("each", clusterIP="None"),
        service("all", clusterIP="None", publishNotReadyAddresses=True),
    )
    apiserver.apply(*services, deployment(2), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    ips = sorted(pod.ip for pod in kubelet.pods())
    assert (await asked(kubelet, f"/resolve/each.{kubelet.namespace}.svc"))["ips"] == ips
    assert (await asked(kubelet, "/resolve/one"))["ips"][0] in ips
    assert (await asked(kubelet, "/resolve/nobody"))["ips"] == []
    first = kubelet.pods()[0]
    await first.containers["web"].run(["rm", "/data/ready"], 5)

    async def out() -> bool:
        return (await asked(kubelet, "/resolve/each", 1))["ips"] == [kubelet.pods()[1].ip]

    await kubelet.until(out, "the pod that is not ready to leave the Service")
    assert (await asked(kubelet, "/resolve/all"))["ips"] == ips
    assert kubelet.services.connect_to(f"one.{kubelet.namespace}", 80) == (kubelet.pods()[1].ip, 8080)


async def test_a_rollout_never_has_less_than_it_may(apiserver: ApiServer, kubelet: Kubelet) -> None:
    apiserver.apply(deployment(2), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    before = {pod.name for pod in kubelet.pods()}
    apiserver.apply(deployment(2, workingDir="/data"), namespace=kubelet.namespace).ok()
    await kubelet.look()
    fewest, most = 2, 2
    while not kubelet.settled():
        fewest = min(fewest, len(kubelet.ready()))
        most = max(most, sum(not pod.terminating for pod in kubelet.pods()))
        await asyncio.sleep(0.01)
    assert (fewest, most) == (2, 3)
    assert before.isdisjoint({pod.name for pod in kubelet.pods()})


async def test_what_ends_is_started_again_and_what_fails_its_probe_too(apiserver: ApiServer, kubelet: Kubelet) -> None:
    alive = {"exec": {"command": ["test", "-e", "/data/ready"]}, "periodSeconds": 1, "failureThreshold": 1}
    apiserver.apply(deployment(livenessProbe=alive), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    web = kubelet.pods()[0].containers["web"]
    assert web.pid is not None
    web.send(signal.SIGKILL)

    async def back() -> bool:
        return web.restarts == 1 and web.ready

    await kubelet.until(back, "the container that was killed")
    await web.run(["rm", "/data/ready"], 5)

    async def again() -> bool:
        return web.restarts >= 2

    await kubelet.until(again, "the container that failed its liveness probe")


async def test_the_end_runs_hooks_first_and_sidecars_last(apiserver: ApiServer, kubelet: Kubelet) -> None:
    sidecar = {
        "name": "beside",
        "image": "limpet",
        "restartPolicy": "Always",
        "command": [
            "sh",
            "-c",
            "trap 'echo beside >> /data/log; exit 0' TERM; touch /data/ready; while :; do sleep 0.1; done",
        ],
        "startupProbe": {"exec": {"command": ["test", "-e", "/data/ready"]}, "periodSeconds": 1},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    hook = {"preStop": {"exec": {"command": ["sh", "-c", "echo hook >> /data/log"]}}}
    apiserver.apply(deployment(pod={"initContainers": [sidecar]}, lifecycle=hook), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    pod = kubelet.pods()[0]
    log = pod.volume("data") / "log"
    apiserver.kubectl("-n", kubelet.namespace, "delete", "pod", pod.name, "--wait=false").ok()

    async def replaced() -> bool:
        return bool(kubelet.pods()) and pod.ended and kubelet.settled()

    await kubelet.until(replaced, "another pod in its place")
    assert log.read_text().split() == ["hook", "TERM", "beside"]


async def test_a_deployment_that_is_deleted_leaves_no_pod(apiserver: ApiServer, kubelet: Kubelet) -> None:
    apiserver.apply(deployment(2), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    apiserver.kubectl("-n", kubelet.namespace, "delete", "deployment", "web").ok()

    async def gone() -> bool:
        return not kubelet.pods()

    await kubelet.until(gone, "the end of all pods")
    assert apiserver.get("-n", kubelet.namespace, "pods")["items"] == []


async def test_pods_live_on_without_the_api_server(apiserver: ApiServer, kubelet: Kubelet) -> None:
    apiserver.apply(deployment(), namespace=kubelet.namespace).ok()
    await settled(kubelet)
    pod = kubelet.pods()[0]
    await asyncio.to_thread(apiserver.kill)
    try:
        assert (await asked(kubelet, "/self"))["host"] == pod.name
    finally:
        await asyncio.to_thread(apiserver.start)
    await settled(kubelet)
    assert kubelet.pods() == [pod]
