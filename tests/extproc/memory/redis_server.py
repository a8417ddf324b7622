"""A real redis-server for a test, on a free port of loopback, and what can happen to it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from shutil import which
from typing import Any, Self

import redis
from tests.waiting import eventually

from limpet_operator.laptop.machine import free_port


def _binary() -> str:
    found = which("redis-server")
    assert found, "these tests need redis-server, version 6.2 or newer: apt-get install redis-server"
    return found


@dataclass
class RedisServer:
    """One redis-server; `options` are those of its configuration file, a value a word."""

    directory: Path
    options: dict[str, str] = field(default_factory=dict)
    sentinel: bool = False
    tls: bool = False
    port: int = field(default_factory=free_port)
    client: dict[str, Any] = field(default_factory=dict)
    """How the test itself connects: user, password, certificates."""
    _process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None
        return self._process

    def start(self) -> Self:
        """Start and wait until it answers."""
        self.directory.mkdir(parents=True, exist_ok=True)
        options = {
            "bind": "127.0.0.1",
            "port": "0" if self.tls else str(self.port),
            "save": '""',
            "repl-diskless-sync-delay": "0",
            "dir": str(self.directory),
            **({"tls-port": str(self.port)} if self.tls else {}),
            **self.options,
        }
        file = self.directory / f"redis-{self.port}.conf"
        file.write_text("".join(f"{name} {value}\n" for name, value in options.items()))
        command = [_binary(), str(file), *(["--sentinel"] if self.sentinel else [])]
        with (self.directory / f"redis-{self.port}.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        eventually(self._answers, f"redis-server {' '.join(command)} does not answer; its log is {log.name}")
        return self

    def _answers(self) -> bool:
        assert self.process.poll() is None, f"redis-server ended; see the logs in {self.directory}"
        try:
            with self.connection() as client:
                return bool(client.ping())
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False

    @contextmanager
    def connection(self) -> Iterator["redis.Redis"]:
        """A client of the test's own."""
        with redis.Redis(host="127.0.0.1", port=self.port, ssl=self.tls, **self.client) as client:
            yield client

    def run(self, *command: str | bytes | int) -> Any:
        """One command by a client of the test's own."""
        with self.connection() as client:
            return client.execute_command(*command)

    def freeze(self) -> None:
        """It takes connections and does not answer."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        os.kill(self.process.pid, signal.SIGCONT)

    def kill(self) -> None:
        """It is gone at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


@contextmanager
def servers(*them: RedisServer) -> Iterator[tuple[RedisServer, ...]]:
    """Start these and leave none behind."""
    try:
        for server in them:
            server.start()
        yield them
    finally:
        for server in them:
            server.kill()
