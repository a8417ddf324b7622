"""`limpet prices check --from-cluster`, over an API server that has what the test says."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import yaml
from tests.operator.conftest import Build
from typer.testing import CliRunner, Result

from limpet_operator.cli import application

BASE = "/apis/limpet.dev/v1alpha1"
LIST = {"deepseek": {"id": "deepseek", "models": {"flash": {"id": "flash", "cost": {"input": 1, "output": 2}}}}}


@contextmanager
def _cluster(answers: Mapping[str, Any], directory: Path) -> Iterator[Path]:
    """The kubeconfig of a server with these answers; all else is forbidden."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = answers.get(self.path)
            body = json.dumps({"message": "you may not"} if answer is None else {"items": answer}).encode()
            self.send_response(403 if answer is None else 200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        cluster = {"server": f"http://127.0.0.1:{server.server_address[1]}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        (directory / "kubeconfig").write_text(yaml.safe_dump(config))
        try:
            yield directory / "kubeconfig"
        finally:
            server.shutdown()
            thread.join()


def _check(directory: Path, *flags: str) -> Result:
    (directory / "list.json").write_text(json.dumps(LIST))
    arguments = ("prices", "check", str(directory / "list.json"), "--from-cluster", *flags)
    return CliRunner().invoke(application(arguments), arguments, env={"COLUMNS": "200", "TERM": "dumb"})


def _pricing(build: Build, output: str, namespace: str = "default") -> dict[str, Any]:
    priced = {"name": "flash", "perMillionTokens": {"input": "1", "output": output}}
    return build.raw("Pricing", "deepseek", namespace, models=[priced])


def test_what_is_applied_in_all_namespaces_is_compared(build: Build, tmp_path: Path) -> None:
    places = ("default", "team")
    providers = [build.raw("Provider", "deepseek", namespace) for namespace in places]
    pricings = [_pricing(build, output, namespace) for namespace, output in zip(places, "23", strict=True)]
    with _cluster({f"{BASE}/providers": providers, f"{BASE}/pricings": pricings}, tmp_path) as kubeconfig:
        result = _check(tmp_path, "--kubeconfig", str(kubeconfig))
    assert (result.exit_code, result.stderr) == (1, "")
    assert result.stdout.splitlines() == [
        "ok      deepseek flash",
        "differs team/deepseek flash: output 3 and in the list 2",
    ]


def test_what_is_in_the_way_is_said(build: Build, tmp_path: Path) -> None:
    inside = f"{BASE}/namespaces/a"
    answers: dict[str, Any] = {
        f"{inside}/providers": [build.raw("Provider", "x", "a", url=1)],
        f"{inside}/pricings": [],
    }
    with _cluster(answers, tmp_path) as kubeconfig:
        flags = ("--kubeconfig", str(kubeconfig))
        forbidden = _check(tmp_path, *flags)
        none = _check(tmp_path, *flags, "--namespace", "a")
    assert (forbidden.exit_code, none.exit_code) == (1, 1)
    assert "you may not; name the namespaces that you may read with --namespace" in forbidden.stderr
    left_out, nothing = none.stderr.splitlines()
    assert left_out.startswith("Provider a/x is left out: ")
    assert nothing.startswith("limpet prices check: namespace a has no Pricings")
    away = _check(tmp_path, *flags)
    assert "the Kubernetes API does not answer" in away.stderr
