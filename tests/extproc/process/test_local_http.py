"""The pages for probes and Prometheus: what strangers, slow clients and our own mistakes do to them."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from limpet_extproc.process.local_http import Response, Routes, accepts, ask, serve_http

pytestmark = pytest.mark.slow

PATIENCE_S = 60.0


def broken() -> Response:
    raise ValueError("a mistake of ours")


PAGES: Routes = {"/well": lambda: Response("all is well"), "/ill": lambda: Response("no", 503), "/broken": broken}


@contextmanager
def served(address: Path | tuple[str, int]) -> Iterator[str]:
    """The pages, and their origin if they are on TCP."""
    server = serve_http(address, PAGES)
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}" if isinstance(address, tuple) else ""
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("path", "status", "body"),
    [
        ("/well", 200, "all is well"),
        ("/well?now", 200, "all is well"),
        ("/ill", 503, "no"),
        ("/", 404, "not found; available: /well, /ill, /broken\n"),
        ("/broken", 500, "failed; see the log\n"),
    ],
)
def test_each_path_has_its_page(path: str, status: int, body: str) -> None:
    with served(("127.0.0.1", 0)) as origin:
        answer = httpx.get(origin + path, timeout=PATIENCE_S, trust_env=False)
    assert (answer.status_code, answer.text) == (status, body)


def test_a_mistake_of_ours_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with served(("127.0.0.1", 0)) as origin:
        httpx.get(f"{origin}/broken", timeout=PATIENCE_S, trust_env=False)
    assert "/broken failed; please report this" in caplog.text
    assert "a mistake of ours" in caplog.text


def test_who_hangs_up_leaves_no_trace(caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]) -> None:
    caplog.set_level(logging.INFO, "limpet")
    with served(("127.0.0.1", 0)) as origin:
        port = int(origin.rpartition(":")[2])
        for _ in range(20):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # It hangs up by RST.
                client.sendall(b"GET /well HTTP/1.0\r\n\r\n")
        assert httpx.get(f"{origin}/well", timeout=PATIENCE_S, trust_env=False).status_code == 200
    assert not [record for record in caplog.records if record.name.startswith("limpet")]
    assert capsys.readouterr().err == ""


def test_connections_without_a_request_take_few_threads_and_block_no_other() -> None:
    with served(("127.0.0.1", 0)) as origin, ExitStack() as stack:
        port = int(origin.rpartition(":")[2])
        before = threading.active_count()
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", port))) for _ in range(200)]
        for _ in range(20):
            answer = httpx.get(f"{origin}/well", timeout=PATIENCE_S, trust_env=False)
            assert answer.status_code == 200
        assert threading.active_count() - before <= 70, "64 connections, and a few that are about to end"
        for client in silent:
            client.settimeout(PATIENCE_S)
            assert client.recv(1) == b"", "none of them may stay"


def test_all_addresses_of_ipv6_are_those_of_ipv4_too() -> None:
    server = serve_http(("::", 0), PAGES)
    try:
        for host in ("127.0.0.1", "[::1]"):
            address = f"http://{host}:{server.server_address[1]}/well"
            assert httpx.get(address, timeout=PATIENCE_S, trust_env=False).status_code == 200
    finally:
        server.shutdown()
        server.server_close()


def test_a_page_on_a_unix_socket_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "status.sock"
    assert ask(path, "/well", PATIENCE_S) is None
    assert not accepts(path, PATIENCE_S)
    with served(path):
        assert ask(path, "/well", PATIENCE_S) == b"all is well"
        assert ask(path, "/ill", PATIENCE_S) is None
        assert accepts(path, PATIENCE_S)
    assert not accepts(path, PATIENCE_S)
