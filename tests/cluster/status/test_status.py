"""What people see of the operator in a real API server: conditions, columns, Events; and how little it writes."""

import asyncio
import re
import time
from contextlib import AsyncExitStack, ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import provider, secret
from tests.cluster.operator.process import Operator
from tests.cluster.status.stage import API, PATIENCE_S, Stage, conditions

FAILOVER_S = 15.0


def pricing(name: str, retrieved: str) -> dict[str, Any]:
    prices = {"input": "0.15", "cacheRead": "0.003", "output": "0.60"}
    return {
        "apiVersion": "limpet.dev/v1alpha1",
        "kind": "Pricing",
        "metadata": {"name": name},
        "spec": {
            "providerRef": {"name": name},
            "source": {"name": "price list", "retrieved": retrieved},
            "staleAfter": "720h",
            "models": [{"name": "flash", "perMillionTokens": prices}],
        },
    }


async def written(operator: Operator) -> float:
    """Statuses that this replica has sent, whatever became of them."""
    async with httpx.AsyncClient(base_url=operator.http) as client:
        text = (await client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    return sum(sample.value for sample in families["limpet_status_writes"].samples if sample.name.endswith("_total"))


async def test_kubectl_shows_what_becomes_of_a_provider(stage: Stage) -> None:
    with stage.operator("op") as operator:
        await stage.apply(provider("deepseek"))
        status = await stage.until_condition("deepseek", "ResolvedRefs", "SecretNotFound")
        assert conditions(status) == {
            "Accepted": ("True", "Accepted"),
            "ResolvedRefs": ("False", "SecretNotFound"),
            "Effective": ("True", "Effective"),
            "Programmed": ("False", "RefsNotResolved"),
            "Healthy": ("Unknown", "NotProgrammed"),
        }
        await stage.apply(secret("deepseek"), pricing("deepseek", "2020-01-01"))
        await stage.until_condition("deepseek", "Programmed", "NoGateway")
        async with Gateway().connected(operator.address):
            await stage.kubectl("wait", "--for=condition=Programmed", "--timeout=20s", "provider/deepseek")
            columns = (await stage.kubectl("get", "providers")).splitlines()
            assert columns[0].split() == ["NAME", "VENDOR", "READY", "HEALTH", "HIT%", "WARM", "PRICE-AGE", "AGE"]
            assert columns[1].split()[:4] == ["deepseek", "DeepSeek", "True", "Unknown"]
            assert re.fullmatch(r"\d+y\d*d?", columns[1].split()[-2])
            status = await stage.until_condition("deepseek", "Fresh", "Stale", "pricings")
            assert status["observedGeneration"] == 1
            described = await stage.kubectl("describe", "provider", "deepseek")
            assert "Warning  SecretNotFound" in described
            assert "create it, or correct spec.credential.secretRef.name" in described
            assert "Normal   ResolvedRefs" in described


async def test_kubectl_shows_the_price_window_in_force(stage: Stage) -> None:
    now = datetime.now(UTC)
    clock = [f"{now + timedelta(hours=hours):%H:%M}" for hours in (-1, 2)]
    windows = [{"name": "peak", "from": clock[0], "to": clock[1], "factor": "2"}]
    priced = pricing("deepseek", "2020-01-01")
    priced["spec"]["windows"] = windows
    with stage.operator("op") as operator:
        await stage.apply(provider("deepseek"), secret("deepseek"), priced)
        status = await stage.until("pricings", "deepseek", lambda status: "window" in status)
        assert status["window"] == {"name": "peak", "until": f"{now + timedelta(hours=2):%Y-%m-%dT%H:%M:00Z}"}
        columns = (await stage.kubectl("get", "pricings")).splitlines()
        assert columns[0].split() == ["NAME", "PROVIDER", "ACCEPTED", "FRESH", "WINDOW", "UNTIL", "SOURCE", "AGE"]
        assert columns[1].split()[4:6] == ["peak", status["window"]["until"]]
        priced["spec"]["windows"][0]["timeZone"] = "Mars/Olympus"
        await stage.apply(priced)
        await stage.until_condition("deepseek", "ResolvedRefs", "TimeZoneNotFound", "pricings")
        await stage.until("pricings", "deepseek", lambda status: "window" not in status)
        async with httpx.AsyncClient(base_url=operator.http) as client:
            page = (await client.get("/metrics")).text
        assert f'limpet_prices_stale{{pricing="{stage.namespace}/deepseek"}} 1.0' in page


async def test_an_idle_cluster_is_not_written_to(stage: Stage) -> None:
    names = [f"p{number:03}" for number in range(100)]
    await stage.apply(*(provider(name) for name in names), *(secret(name) for name in names))
    await stage.apply(*(pricing(name, "2026-11-20") for name in names))
    with ExitStack() as stack:
        one, two = (stack.enter_context(stage.operator(name)) for name in ("one", "two"))
        async with Gateway().connected(one.address):
            for name in names:
                await stage.until_condition(name, "Accepted", "Accepted")
                await stage.until_condition(name, "Accepted", "Accepted", "pricings")
            await asyncio.sleep(3)
            before, sent = await stage.versions(), await written(one) + await written(two)
            assert len(before) == 200
            await asyncio.sleep(10)
            assert await stage.versions() == before
            assert await written(one) + await written(two) == sent
            # Each needed one write, or two where the acknowledgement came late.
            assert sent <= 320
            await stage.apply(provider("p042", weight=7))
            await stage.until("providers", "p042", lambda status: status["observedGeneration"] == 2)
            await asyncio.sleep(2)
            after = await stage.versions()
            assert {name for name, version in after.items() if version != before[name]} == {"providers/p042"}


async def test_conditions_of_others_and_the_fields_of_others_stay(stage: Stage) -> None:
    path = f"/{API}/namespaces/{stage.namespace}/providers/deepseek/status"
    audited = {
        "type": "example.com/Audited",
        "status": "True",
        "reason": "Looked",
        "message": "by Bob",
        "lastTransitionTime": "2026-12-01T00:00:00Z",
    }
    theirs = {
        "apiVersion": "limpet.dev/v1alpha1",
        "kind": "Provider",
        "metadata": {"name": "deepseek"},
        "status": {"conditions": [audited], "cache": {"hitPercent": 93}},
    }
    with stage.operator("op"):
        await stage.apply(provider("deepseek"), secret("deepseek"))
        await stage.until_condition("deepseek", "Accepted", "Accepted")
        for _ in range(2):
            answer = await asyncio.to_thread(
                stage.server.request,
                "PATCH",
                f"{path}?fieldManager=auditor&force=true",
                content=theirs,
                content_type="application/apply-patch+yaml",
            )
            assert answer.status_code == 200, answer.text
            await stage.kubectl("delete", "secret", "deepseek")
            await stage.until_condition("deepseek", "ResolvedRefs", "SecretNotFound")
            await stage.apply(secret("deepseek"))
            status = await stage.until_condition("deepseek", "ResolvedRefs", "ResolvedRefs")
            assert audited in status["conditions"]
            assert status["cache"] == {"hitPercent": 93}
            assert len(status["conditions"]) == 6


async def test_a_status_that_is_wiped_comes_back(stage: Stage) -> None:
    path = f"/{API}/namespaces/{stage.namespace}/providers/deepseek/status"
    with stage.operator("op"):
        await stage.apply(provider("deepseek"), secret("deepseek"))
        await stage.until_condition("deepseek", "Programmed", "NoGateway")
        wiped = await asyncio.to_thread(
            stage.server.request,
            "PATCH",
            path,
            content={"status": {"conditions": []}},
            content_type="application/merge-patch+json",
        )
        assert wiped.status_code == 200
        await stage.until_condition("deepseek", "Programmed", "NoGateway")


@pytest.mark.parametrize("end", ["killed", "asked to end"])
async def test_when_the_holder_goes_the_other_one_writes_on(stage: Stage, end: str) -> None:
    await stage.apply(provider("deepseek"), secret("deepseek"))
    async with AsyncExitStack() as stack:
        operators = {name: stack.enter_context(stage.operator(name)) for name in ("one", "two")}
        await stage.until_condition("deepseek", "Programmed", "NoGateway")
        before = await stage.versions()
        first = await stage.holder()
        assert first in operators
        (other,) = operators.keys() - {first}
        gone = time.monotonic()
        if end == "killed":
            operators[first].program.kill()
        else:
            assert await asyncio.to_thread(operators[first].program.stop) == 0
            gone = time.monotonic()
        await stage.until_held(lambda holder: holder == other)
        assert time.monotonic() - gone <= (FAILOVER_S if end == "killed" else PATIENCE_S)
        # Taking over writes nothing: what is there is right.
        await asyncio.sleep(1)
        assert await stage.versions() == before
        await stage.apply(provider("deepseek", weight=7))
        await stage.until("providers", "deepseek", lambda status: status["observedGeneration"] == 2)


async def test_news_that_repeats_is_one_event_that_counts(stage: Stage) -> None:
    path = f"/apis/events.k8s.io/v1/namespaces/{stage.namespace}/events"
    with stage.operator("op"):
        await stage.apply(provider("deepseek"))
        for _ in range(3):
            await stage.until_condition("deepseek", "ResolvedRefs", "SecretNotFound")
            await stage.apply(secret("deepseek"))
            await stage.until_condition("deepseek", "ResolvedRefs", "ResolvedRefs")
            await stage.kubectl("delete", "secret", "deepseek")
        await stage.until_condition("deepseek", "ResolvedRefs", "SecretNotFound")
        deadline = time.monotonic() + PATIENCE_S
        counts: dict[str, int] = {}
        while counts != {"SecretNotFound": 4, "ResolvedRefs": 3}:
            assert time.monotonic() < deadline, counts
            counts = {
                each["reason"]: each.get("series", {}).get("count", 1) for each in (await stage.get(path))["items"]
            }
            await asyncio.sleep(0.1)
