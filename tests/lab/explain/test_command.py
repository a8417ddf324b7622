"""`limpet explain` over the Providers of a directory, and what it says where it can't explain."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from limpet_extproc.contract.explanation import decode
from limpet_lab.explain.command import explain

_OBJECTS = """
apiVersion: limpet.dev/v1alpha1
kind: Provider
metadata: {{name: {name}}}
spec: {{vendor: DeepSeek, url: "https://{name}.example/v1", models: [{{name: tide, upstreamName: tide-{name}}}]}}
---
apiVersion: limpet.dev/v1alpha1
kind: Pricing
metadata: {{name: {name}}}
spec:
  providerRef: {{name: {name}}}
  models: [{{name: tide, perMillionTokens: {{input: "{usd}", cacheRead: "0.1", output: "{usd}"}}}}]
---
"""
SECRET = "the launch code is 4711"
BODY: dict[str, Any] = {"model": "tide", "messages": [{"role": "user", "content": SECRET * 300}]}


def limpet_explain(*arguments: str) -> Result:
    app = typer.Typer()
    app.command()(explain)
    return CliRunner().invoke(app, arguments, env={"COLUMNS": "200", "TERM": "dumb", "OPENAI_API_KEY": ""})


@pytest.fixture
def providers(tmp_path: Path) -> str:
    file = tmp_path / "providers.yaml"
    file.write_text(_OBJECTS.format(name="near", usd="1.00") + _OBJECTS.format(name="dear", usd="9.00"))
    return str(file)


@pytest.fixture
def asked(tmp_path: Path) -> Callable[[object], str]:
    def written(body: object) -> str:
        file = tmp_path / "request.json"
        file.write_bytes(body if isinstance(body, bytes) else json.dumps(body).encode())
        return str(file)

    return written


def test_a_person_reads_who_why_and_what_each_costs(asked: Callable[[object], str], providers: str) -> None:
    result = limpet_explain(asked({**BODY, "session_id": SECRET}), "--providers", providers)
    assert result.exit_code == 0, result.output
    assert "It would go to near: a new conversation" in result.output
    assert "Should that fail: dear." in result.output
    assert "recognised by session_id" in result.output
    assert "near gets another body: model named tide-near; without session_id." in result.output
    assert "Answered, it would be remembered at near for" in result.output
    assert SECRET not in result.output


def test_a_program_reads_json(asked: Callable[[object], str], providers: str) -> None:
    arguments = ("--header", "x-session-id: mine", "--key", "secret-key", "--json")
    result = limpet_explain(asked(BODY), "--providers", providers, *arguments)
    told = decode(result.stdout)
    assert (told.reason, told.order) == ("first.scored", ("near", "dear"))
    assert told.identity is not None
    assert (told.identity.identified_by, bool(told.identity.tenant)) == ("x-session-id", True)
    assert "secret-key" not in result.output


@pytest.mark.parametrize(
    ("path", "body", "api", "says"),
    [
        ("/v1/chat/completions", {**BODY, "model": "tyde"}, "OpenAIChat", "Did you mean 'tide'?"),
        ("/v1/chat/completions", {**BODY, "provider": {"only": ["x"]}}, "OpenAIChat", "not_in_only"),
        ("/v1/chat/completions", {"model": "tide", "input": "?"}, "OpenAIChat", "It would"),
        ("/v1/messages", {"model": "tide"}, "AnthropicMessages", "refused"),
        ("/v1/embeddings", {"model": "tide", "input": "?"}, "embeddings", "served here, but not by /v1/embeddings"),
    ],
)
def test_a_refusal_is_explained_too(
    asked: Callable[[object], str], providers: str, path: str, body: object, api: str, says: str
) -> None:
    result = limpet_explain(asked(body), "--providers", providers, "--path", path)
    assert result.exit_code == 0, result.output
    assert says in result.output
    assert api in result.output


@pytest.mark.parametrize(
    ("body", "arguments", "says"),
    [
        (b"{", ("--providers", "."), "is not JSON"),
        (b"\xff\xfe", ("--providers", "."), "is not JSON"),
        (b"[" * 100_000, ("--providers", "."), "is not JSON"),
        (b"[]", ("--providers", "."), "is not a JSON object"),
        (b"{}", ("--providers", "/nonexistent"), "/nonexistent does not exist"),
        (b"{}", (), "--providers DIR, or --gateway URL"),
        (b"{}", ("--providers", ".", "--gateway", "http://x"), "--providers DIR, or --gateway URL"),
        (b"{}", ("--providers", ".", "--header", "no colon"), "is not 'name: value'"),
        (b"{}", ("--providers", ".", "--header", "x: a\nb"), "is not 'name: value'"),
        (b"{}", ("--providers", ".", "--key", " "), "--key is empty"),
        (b"{}", ("--providers", ".", "--path", "v1/chat/completions"), "begins with a slash"),
        (b"{}", ("--gateway", "ftp://x"), "is not a URL"),
        (b"{}", ("--gateway", "http://[::1"), "is not a URL"),
        (b"{}", ("--gateway", "http://127.0.0.1:9"), "no gateway answers"),
    ],
)
def test_what_cannot_be_explained_is_said_kindly(
    asked: Callable[[object], str], body: bytes, arguments: tuple[str, ...], says: str
) -> None:
    result = limpet_explain(asked(body), *arguments)
    assert result.exit_code == 1
    assert result.output.startswith("limpet explain: ")
    assert says in result.output
    assert "Traceback" not in result.output


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = limpet_explain(str(tmp_path / "none.json"), "--providers", ".")
    assert (result.exit_code, "none.json cannot be read: No such file" in result.output) == (1, True)


@contextmanager
def answering(
    health: dict[str, str], status: int, headers: dict[str, str], body: bytes
) -> Iterator[tuple[str, list[str]]]:
    """A server of another kind, and the bodies that were sent to it."""
    got: list[str] = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(200, health, b"ok")

        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["content-length"])).decode())
            self._answer(status, headers, body)

        def _answer(self, number: int, told: dict[str, str], content: bytes) -> None:
            self.send_response(number)
            for name, value in (*told.items(), ("content-length", str(len(content)))):
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", got
        finally:
            server.shutdown()
            thread.join()


def test_what_is_no_limpet_does_not_get_the_request(asked: Callable[[object], str]) -> None:
    with answering({}, 200, {}, b"{}") as (url, got):
        result = limpet_explain(asked(BODY), "--gateway", url)
    assert (result.exit_code, got) == (1, [])
    assert "is not a Limpet gateway, so the request was not sent to it" in result.output


@pytest.mark.parametrize(
    ("status", "decision", "body", "says"),
    [
        (403, "refused.debug", b'{"error": {"message": "It is not for you."}}', "It is not for you."),
        (502, "refused.debug", b'{"error": "all gone"}', "all gone"),
        (200, "answered.explained", b"[]", "a Limpet of another version"),
        (503, "refused.debug", b"", "no text"),
    ],
)
def test_a_limpet_that_does_not_explain_says_why(
    asked: Callable[[object], str], status: int, decision: str, body: bytes, says: str
) -> None:
    health, told = {"x-limpet-decision": "answered.health"}, {"x-limpet-decision": decision}
    with answering(health, status, told, body) as (url, got):
        result = limpet_explain(asked(BODY), "--gateway", f"{url}/v1/")
    assert (result.exit_code, len(got)) == (1, 1)
    assert says in result.output
