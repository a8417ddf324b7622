"""A provider gets another host and another key in one step, under traffic: neither host is sent the other's key."""

import asyncio
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.envoy.command import Command, write
from tests.envoy.upstream import Upstream

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

CHANGES = 12
BODY = {"model": "m", "messages": [{"role": "user", "content": "Which limpet?"}]}


def objects(upstream: Upstream, key: str) -> list[dict[str, Any]]:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    credential = {"secretRef": {"name": "s", "key": "api-key"}}
    spec = {
        "vendor": "Custom",
        "url": upstream.url,
        "credential": credential,
        "models": [{"name": "m"}],
        "headers": {"set": [{"name": "x-account", "secretRef": {"name": "s", "key": "account"}}]},
    }
    provider = {"apiVersion": "limpet.dev/v1alpha1", "kind": "Provider", "metadata": {"name": "p"}, "spec": spec}
    return [secret | {"stringData": {"api-key": key, "account": f"account-of-{key}"}}, provider]


async def test_no_host_is_sent_the_key_of_another(tmp_path: Path) -> None:
    async with Upstream() as one, Upstream() as other:
        keys = {"key-of-one": one, "key-of-other": other}
        write(tmp_path, "p.yaml", objects(one, "key-of-one"))
        async with Command.up(tmp_path) as command, aiohttp.ClientSession() as client:
            statuses: list[int] = []

            async def ask_on() -> None:
                while True:
                    async with client.post(f"{command.base_url}/chat/completions", json=BODY) as response:
                        await response.read()
                        statuses.append(response.status)

            await command.says("Ctrl-C ends everything")
            asking = [asyncio.create_task(ask_on()) for _ in range(4)]
            for number in range(CHANGES):
                key = list(keys)[(number + 1) % 2]
                asked = len(keys[key].got)
                write(tmp_path, "p.yaml", objects(keys[key], key))
                while len(keys[key].got) < asked + 3:  # noqa: ASYNC110 (requests come by themselves)
                    await asyncio.sleep(0.02)
            for task in asking:
                task.cancel()
            await asyncio.gather(*asking, return_exceptions=True)
        for key, upstream in keys.items():
            assert {got.header("authorization") for got in upstream.got} == {f"Bearer {key}"}
            assert {got.header("x-account") for got in upstream.got} == {f"account-of-{key}"}
        assert set(statuses) == {200}
