"""What `helm test` sends, against gateways that do and do not keep a conversation where it is."""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from tests.chart.rendered import CHART


@contextmanager
def gateway(served: list[str], cached: list[int | None], status: int = 200) -> Iterator[tuple[str, list[Any]]]:
    """One that answers turn after turn so; its address, and what it was sent."""
    sent: list[Any] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer({"object": "list", "data": [{"id": "small"}]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            sent.append((self.headers["authorization"], body))
            turn = len(sent) - 1
            details: dict[str, Any] = (
                {} if cached[turn] is None else {"prompt_tokens_details": {"cached_tokens": cached[turn]}}
            )
            message = {"role": "assistant", "content": "yes"}
            usage: dict[str, Any] = {"prompt_tokens": 4500, **details}
            self._answer({"choices": [{"message": message}], "usage": usage}, served[turn])

        def _answer(self, body: object, provider: str = "") -> None:
            self.send_response(status if self.command == "POST" else 200)
            if provider:
                self.send_header("x-limpet-provider", provider)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", sent
        finally:
            server.shutdown()


def run(address: str, model: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(CHART / "files/conversation.py"), address, model]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={"LIMPET_KEY": "k-1"}, timeout=60)


def test_a_second_turn_that_reads_from_the_cache_passes() -> None:
    with gateway(["alpha", "alpha"], [0, 4096]) as (address, sent):
        done = run(address, "small")
    assert done.returncode == 0, done.stderr
    assert "Turn 2: alpha, None, 4096 of 4500 tokens from the cache" in done.stdout
    (key, first), (_, second) = sent
    assert key == "Bearer k-1"
    assert second["messages"][:2] == first["messages"]
    assert [each["role"] for each in second["messages"]] == ["system", "user", "assistant", "user"]


@pytest.mark.parametrize(
    ("served", "cached", "status", "model", "why"),
    [
        (["alpha", "beta"], [0, 4096], 200, "small", "The second turn went to beta, and the first had gone to alpha."),
        (["alpha", "alpha"], [0, 0], 200, "small", "read nothing from the cache of alpha"),
        (["alpha", "alpha"], [None, None], 200, "small", "read nothing from the cache of alpha"),
        ([""], [0], 503, "small", "/v1/chat/completions: 503"),
        ([], [], 200, "large", "It does not serve test.model 'large'."),
    ],
)
def test_what_is_not_as_it_should_be_fails(
    served: list[str], cached: list[int | None], status: int, model: str, why: str
) -> None:
    with gateway(served, cached, status) as (address, _):
        done = run(address, model)
    assert (done.returncode, why in done.stderr) == (1, True), done.stderr


def test_without_a_model_it_asks_for_the_models_alone() -> None:
    with gateway([], []) as (address, sent):
        done = run(address, "")
    assert (done.returncode, sent) == (0, [])
    assert "Set test.model" in done.stdout


def test_a_gateway_that_is_not_there_is_named() -> None:
    done = run("http://127.0.0.1:9", "small")
    assert (done.returncode, "http://127.0.0.1:9/v1/models" in done.stderr) == (1, True)
