"""`limpet prices check --from-cluster`: what is applied, compared with a list."""

import asyncio
import json
import os
import sys
from pathlib import Path

import yaml

from limpet_lab.kubernetes.apiserver import ApiServer

_LIST = {"deepseek": {"id": "deepseek", "models": {"tide": {"id": "tide", "cost": {"input": 1, "output": 2}}}}}
_API = "limpet.dev/v1alpha1"


async def _check(apiserver: ApiServer, directory: Path, *flags: str) -> tuple[int | None, str, str]:
    (directory / "list.json").write_text(json.dumps(_LIST))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "limpet_operator.cli", "prices", "check", str(directory / "list.json")),
        *("--from-cluster", *flags),
        env={**os.environ, "KUBECONFIG": str(apiserver.kubeconfig)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    return process.returncode, out.decode(), error.decode()


async def test_what_is_applied_is_compared(apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    def applied(output: str) -> str:
        metadata = {"name": "deepseek", "namespace": namespace}
        priced = {"name": "tide", "perMillionTokens": {"input": "1", "output": output}}
        provider = {"vendor": "DeepSeek", "url": "https://api.deepseek.com/v1", "models": [{"name": "tide"}]}
        specs = {"Provider": provider, "Pricing": {"providerRef": {"name": "deepseek"}, "models": [priced]}}
        return yaml.safe_dump_all(
            [{"apiVersion": _API, "kind": kind, "metadata": metadata, "spec": spec} for kind, spec in specs.items()]
        )

    flags = ("--namespace", namespace)
    status, _, error = await _check(apiserver, tmp_path, *flags)
    assert (status, f"namespace {namespace} has no Pricings" in error) == (1, True), error
    for output, expected in [("2", (0, "ok      ")), ("3", (1, "differs "))]:
        apiserver.kubectl("apply", "-f", "-", input=applied(output))
        status, out, error = await _check(apiserver, tmp_path, *flags)
        assert (status, out[:8]) == expected, error
        assert out.startswith(f"{expected[1]}{namespace}/deepseek tide"), out
    apiserver.kubectl("create", "serviceaccount", "stranger", "--namespace", namespace)
    kubeconfig = apiserver.kubeconfig_of(namespace, "stranger")
    status, _, error = await _check(apiserver, tmp_path, *flags, "--kubeconfig", str(kubeconfig))
    assert (status, "your account needs the right to list providers there" in error) == (1, True), error
