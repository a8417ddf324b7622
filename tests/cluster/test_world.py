"""The test world holds what it promises: pods with addresses, an API server that can be broken and comes back."""

import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.cluster.pods import Mount, Network
from tests.cluster.world import ADDRESS, COMMAND

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_lab.kubernetes.assets import AssetsMissingError, find

Private = Callable[[], AbstractContextManager[ApiServer]]

LISTEN = """
import socket, sys
with socket.create_server((sys.argv[1], 8080)) as server:
    print("up", flush=True)
    while True:
        connection, peer = server.accept()
        connection.sendall(f"{sys.argv[2]} for {peer[0]}".encode())
        connection.close()
"""
ASK = "import socket, sys; print(socket.create_connection((sys.argv[1], 8080), 5).recv(99).decode())"


def listening(command: list[str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.communicate()


def answer(address: str, patience_s: float = 5) -> str:
    with socket.create_connection((address, 8080), patience_s) as connection:
        return connection.recv(99).decode()


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


# The world.


def test_what_a_world_leaves_running_ends_with_it_even_if_it_is_killed() -> None:
    orphan = "echo started; sleep 600; exit"
    command = [sys.executable, "-m", "tests.cluster.world", "sh", "-c", f"setsid sh -c '{orphan}' & wait"]
    world = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert world.stdout is not None
        assert world.stdout.readline() == "started\n"
        family = psutil.Process(world.pid).children(recursive=True)
        assert any(process.cmdline() == ["sh", "-c", orphan] for process in family)
    finally:
        end(world)
    _, alive = psutil.wait_procs(family, timeout=20)
    assert alive == []


@pytest.mark.parametrize(
    ("command", "status", "words"),
    [
        (["sh", "-c", "exit 7"], 7, ""),
        (["sh", "-c", "kill -9 $$"], 128 + 9, ""),
        (["no-such-program"], 127, "no-such-program: No such file or directory"),
        ([], 2, "Write the command to run in the world"),
    ],
)
def test_a_world_ends_as_its_command_does(command: list[str], status: int, words: str) -> None:
    world = [sys.executable, "-m", "tests.cluster.world", *command]
    done = subprocess.run(world, capture_output=True, text=True, check=False)
    assert done.returncode == status
    assert words in done.stderr


def test_outside_of_a_world_the_tests_fail_once_and_name_the_command() -> None:
    run = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-q", str(Path(__file__).parent)]
    elsewhere = subprocess.run(["unshare", "--net", *run], capture_output=True, text=True, check=False)
    assert elsewhere.returncode == 1
    assert f"need a world of their own; run:\n  {COMMAND}\n" in elsewhere.stdout
    assert "\n1 failed in" in elsewhere.stdout


# Pods.


def test_pods_take_the_same_port_and_reach_each_other_and_the_world(network: Network) -> None:
    with network.pod("left") as left, network.pod("right") as right:
        listeners = [
            listening(pod.command([sys.executable, "-c", LISTEN, "0.0.0.0", pod.name])) for pod in (left, right)
        ]
        try:
            assert answer(left.ip) == f"left for {ADDRESS}"
            asked = subprocess.check_output(left.command([sys.executable, "-c", ASK, right.ip]), text=True)
            assert asked == f"right for {left.ip}\n"
            own = subprocess.check_output(left.command([sys.executable, "-c", ASK, "127.0.0.1"]), text=True)
            assert own == "left for 127.0.0.1\n"
        finally:
            end(*listeners)


def test_an_unplugged_pod_is_silent_and_comes_back(network: Network) -> None:
    with network.pod("cut") as pod:
        listener = listening(pod.command([sys.executable, "-c", LISTEN, "0.0.0.0", pod.name]))
        try:
            pod.unplug()
            with pytest.raises(OSError, match=r"timed out|No route to host"):
                answer(pod.ip, patience_s=0.3)
            pod.plug()
            assert answer(pod.ip).startswith("cut for ")
        finally:
            end(listener)


def test_the_command_of_a_pod_is_the_process_itself(network: Network) -> None:
    with network.pod("direct") as pod:
        process = listening(pod.command([sys.executable, "-c", LISTEN, "127.0.0.1", "x"]))
        try:
            assert psutil.Process(process.pid).cmdline()[:2] == [sys.executable, "-c"]
        finally:
            end(process)


def test_containers_see_their_own_mounts_and_nobody_elses(network: Network, tmp_path: Path) -> None:
    folder, file = tmp_path / "tls", tmp_path / "names"
    folder.mkdir()
    (folder / "tls.crt").write_text("certificate")
    file.write_text("nameserver 10.222.7.7\n")
    mounts = [Mount("/etc/limpet-test/tls", folder, read_only=True), Mount("/etc/resolv.conf", file)]
    with network.pod("mounted") as pod:
        show = ["cat", "/etc/limpet-test/tls/tls.crt", "/etc/resolv.conf"]
        assert subprocess.check_output(pod.command(show, mounts), text=True) == "certificatenameserver 10.222.7.7\n"
        write = pod.command(["touch", "/etc/limpet-test/tls/more"], mounts)
        refused = subprocess.run(write, capture_output=True, text=True, check=False)
        assert "Read-only file system" in refused.stderr
        bare = subprocess.check_output(pod.command(["ls", "/etc/limpet-test/tls"]), text=True)
        assert bare == ""
    assert ADDRESS in Path("/etc/resolv.conf").read_text()


def test_a_mount_point_where_none_can_be_is_refused_with_advice(network: Network, tmp_path: Path) -> None:
    with network.pod("nowhere") as pod, pytest.raises(OSError, match=r"take one under /etc or /run"):
        pod.command(["true"], [Mount("/proc/limpet", tmp_path)])


# The API server.


def test_rbac_holds_for_a_service_account_and_not_for_the_administrator(apiserver: ApiServer, namespace: str) -> None:
    apiserver.kubectl("create", "serviceaccount", "reader", "-n", namespace).ok()
    apiserver.kubectl(
        "create", "role", "reader", "-n", namespace, "--verb=list", "--resource=providers.limpet.dev"
    ).ok()
    flags = ("-n", namespace, "--role=reader", f"--serviceaccount={namespace}:reader")
    apiserver.kubectl("create", "rolebinding", "reader", *flags).ok()
    reader = apiserver.kubeconfig_of(namespace, "reader")
    apiserver.kubectl("get", "providers", kubeconfig=reader).ok()
    refused = apiserver.kubectl("get", "secrets", kubeconfig=reader).refused()
    assert f'User "system:serviceaccount:{namespace}:reader" cannot list resource "secrets"' in refused
    apiserver.kubectl("get", "secrets", "-n", namespace).ok()


def test_pods_reach_the_api_server_by_the_name_in_its_certificate(
    apiserver: ApiServer, namespace: str, network: Network
) -> None:
    apiserver.kubectl("create", "serviceaccount", "pod", "-n", namespace).ok()
    token = apiserver.token(namespace, "pod")
    code = (
        "import sys, ssl, urllib.request as u; url, ca, token = sys.argv[1:];"
        "r = u.Request(url + '/version', headers={'authorization': 'Bearer ' + token});"
        "print(u.urlopen(r, context=ssl.create_default_context(cafile=ca)).status)"
    )
    with network.pod("client") as pod:
        command = pod.command([sys.executable, "-c", code, apiserver.url, str(apiserver.ca_file), token])
        assert subprocess.check_output(command, text=True) == "200\n"


def test_what_was_written_survives_a_kill_of_either_and_a_restart(private_apiserver: Private) -> None:
    with private_apiserver() as server:
        server.apply(config_map("kept", word="limpet")).ok()
        server.kill()
        assert "refused" in server.kubectl("get", "configmaps").refused()
        server.start()
        server.restart_etcd()
        server.restart()
        assert server.get("configmap", "kept")["data"] == {"word": "limpet"}


def test_a_watch_from_before_the_history_ends_is_told_410(private_apiserver: Private) -> None:
    path = "/api/v1/namespaces/default/configmaps"
    with private_apiserver() as server:
        server.apply(config_map("changing", word="a")).ok()
        then = server.get("configmap", "changing")["metadata"]["resourceVersion"]
        server.apply(config_map("changing", word="b")).ok()
        watch = f"{path}?watch=1&timeoutSeconds=1&resourceVersion={then}"
        assert '"MODIFIED"' in server.request("GET", watch).text
        server.expire_watch_history()
        assert '"code":410' in server.request("GET", watch).text
        assert server.get("configmap", "changing")["data"] == {"word": "b"}


# Where the programs come from.


def test_a_wrong_folder_of_assets_is_named_with_advice(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissingError, match=r"kube-apiserver: no such program.*KUBEBUILDER_ASSETS.*unset it"):
        find({"KUBEBUILDER_ASSETS": str(tmp_path)})


def test_an_empty_cache_says_how_to_fill_it(tmp_path: Path) -> None:
    with pytest.raises(AssetsMissingError, match=r"not built yet.*python -m limpet_lab\.kubernetes\.assets"):
        find({"XDG_CACHE_HOME": str(tmp_path)})
