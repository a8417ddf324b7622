"""The bundled Redis, started as in the chart: the gateway's memory works with it, and other clients are rejected."""

import base64
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError
from redis.retry import Retry
from tests.chart.rendered import container, objects, one, pod

from limpet_extproc.memory import Remembered, Warm
from limpet_extproc.memory.redis.redis_memory import open_memory
from limpet_operator.laptop.machine import free_port

AT_MOST_S = 60.0


@dataclass(frozen=True)
class Bundled:
    port: int
    credentials: Path
    password: str

    def client(self, **access: str) -> "redis.Redis":
        return redis.Redis(port=self.port, retry=Retry(NoBackoff(), 0), **access)  # type: ignore[arg-type]


@contextmanager
def running(tmp_path: Path, values: Mapping[str, Any]) -> Iterator[Bundled]:
    """The server, over the files that are in this directory; its first start writes the password there."""
    found = objects(values)
    if not (tmp_path / "users.acl").exists():
        secret = {key: base64.b64decode(value) for key, value in one(found, "Secret", "limpet-redis")["data"].items()}
        for name, content in secret.items():
            (tmp_path / name).write_bytes(content)
    port = free_port()
    places = {"/etc/limpet/redis/users.acl": str(tmp_path / "users.acl"), "/data": str(tmp_path), "6379": str(port)}
    arguments = container(pod(found, "limpet-redis"), "redis")["args"]
    binary = which("redis-server")
    assert binary, "this test needs redis-server: apt-get install redis-server"
    process = subprocess.Popen([binary, *(places.get(each, each) for each in arguments)], stdout=subprocess.DEVNULL)
    server = Bundled(port, tmp_path, (tmp_path / "password").read_text())
    try:
        _answers(server)
        yield server
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bundled]:
    with running(tmp_path_factory.mktemp("redis"), {}) as server:
        yield server


@pytest.mark.parametrize("kept", [False, True])
def test_a_restart_keeps_the_ledger_only_with_persistence(tmp_path: Path, kept: bool) -> None:
    values = {"redis": {"bundled": {"persistence": {"enabled": kept}}}}
    with running(tmp_path, values) as server, server.client(username="limpet", password=server.password) as gateway:
        gateway.hset("lmpt:l1", "row", "sums")
    with running(tmp_path, values) as server, server.client(username="limpet", password=server.password) as gateway:
        assert gateway.hgetall("lmpt:l1") == ({b"row": b"sums"} if kept else {})


@pytest.mark.parametrize(
    ("persistence", "volume", "claims"),
    [
        ({}, {"emptyDir": {}}, 0),
        ({"enabled": True}, {"persistentVolumeClaim": {"claimName": "limpet-redis"}}, 1),
        ({"enabled": True, "existingClaim": "mine"}, {"persistentVolumeClaim": {"claimName": "mine"}}, 0),
    ],
)
def test_its_volume_is_what_was_asked_for(persistence: dict[str, Any], volume: dict[str, Any], claims: int) -> None:
    found = objects({"redis": {"bundled": {"persistence": persistence}}})
    assert {"name": "data", **volume} in pod(found, "limpet-redis")["spec"]["volumes"]
    assert sum(entry["kind"] == "PersistentVolumeClaim" for entry in found) == claims


def _answers(server: Bundled) -> None:
    deadline = time.monotonic() + AT_MOST_S
    while time.monotonic() < deadline:
        with suppress(redis.ConnectionError), server.client() as anybody:
            try:
                anybody.ping()
            except redis.AuthenticationError:
                return
        time.sleep(0.02)
    pytest.fail("the bundled redis-server does not answer")


async def test_the_gateways_memory_works_in_it(bundled: Bundled) -> None:
    registry = CollectorRegistry()
    names = ("ai/deepseek",)
    memory = open_memory(
        f"redis://127.0.0.1:{bundled.port}/0",
        providers=lambda: names,
        registry=registry,
        credentials=bundled.credentials,
        deadline_s=AT_MOST_S,
    )
    await memory.start()
    now_s = time.time()
    warm = Warm("ai/deepseek", until_s=float(int(now_s) + 300), prompt_tokens=2048, cached_tokens=1024)
    memory.remember(b"k" * 16, warm, 4, now_s)
    await memory.written()
    assert await memory.lookup(b"k" * 16, now_s) == Remembered((warm,))
    memory.forget(b"k" * 16, "ai/deepseek")
    await memory.written()
    assert await memory.lookup(b"k" * 16, now_s) is None
    await memory.close()
    assert registry.get_sample_value("limpet_memory_up") == 1.0


def test_nobody_gets_in_without_the_password(bundled: Bundled) -> None:
    with bundled.client() as anybody, pytest.raises(redis.AuthenticationError):
        anybody.ping()
    with bundled.client(username="limpet", password="guess") as guessing, pytest.raises(redis.AuthenticationError):
        guessing.ping()


def test_nobody_can_wipe_or_reconfigure_it_with_the_gateways_password(bundled: Bundled) -> None:
    with bundled.client(username="limpet", password=bundled.password) as gateway:
        for command in ("FLUSHALL", "CONFIG GET *", "KEYS *", "ACL LIST", "SHUTDOWN"):
            with pytest.raises(NoPermissionError):
                gateway.execute_command(*command.split())
        with pytest.raises(NoPermissionError):
            gateway.set("somebody-elses", "1")
