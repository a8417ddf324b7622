"""Objects of a real API server reach an Envoy, and so does all that happens to them."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator

from limpet_lab.kubernetes.apiserver import ApiServer


async def test_apply_change_rotate_delete(apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    name = f"{namespace}/deepseek"

    async def apply(*objects: Mapping[str, Any]) -> None:
        (await asyncio.to_thread(apiserver.apply, *objects, namespace=namespace)).ok()

    await apply(provider("deepseek"), secret("deepseek"))
    with Operator.running(apiserver, tmp_path / "op", "--namespace", namespace) as operator:
        await operator.ready()
        async with Gateway().connected(operator.address) as gateway:
            await gateway.until(lambda g: g.keys == {f"limpet/credential/{name}": "Bearer sk-deepseek"})
            assert gateway.providers == {name}

            await apply(secret("deepseek", key="sk-new"))
            await gateway.until(lambda g: "Bearer sk-new" in g.keys.values())

            await apply(provider("openai", vendor="OpenAI", url="https://api.openai.com/v1"))
            await operator.until_logged("there is no Secret openai in namespace")
            assert gateway.providers == {name}
            await apply(secret("openai"))
            await gateway.until(lambda g: g.providers == {name, f"{namespace}/openai"})

            await asyncio.to_thread(apiserver.kubectl, "delete", "provider", "deepseek", "-n", namespace)
            await gateway.until(lambda g: g.providers == {f"{namespace}/openai"})
            await operator.until_logged("is in order now")
        assert operator.program.stop() == 0
    assert operator.logged("ended")
    assert not [entry for entry in operator.log() if entry["level"] == "error"]
