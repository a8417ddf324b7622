"""What people see of their HealthProbes in a real API server, from `kubectl apply` to the status of each Provider."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import health_probe, provider, secret
from tests.cluster.status.stage import Stage, conditions
from tests.cluster.status.worker import Worker, fine
from tests.waiting import until

from limpet_extproc.contract.health_stream import ProbeAnswer, ProbeRequest


def refused(request: ProbeRequest) -> ProbeAnswer:
    body = '{"error": {"message": "Incorrect API key provided: sk-abcdefghijkl", "code": "invalid_api_key"}}'
    return ProbeAnswer(request.id, 401, "application/json", body=body)


def broken_at_health(request: ProbeRequest) -> ProbeAnswer:
    return ProbeAnswer(request.id, 500, "text/plain", body="oops") if request.path == "/v1/health" else fine(request)


def said(status: Any, kind: str) -> str:
    (message,) = [each["message"] for each in status["conditions"] if each["type"] == kind]
    return str(message)


async def test_a_probe_finds_a_wrong_key_before_any_request(stage: Stage) -> None:
    with stage.operator("op") as operator:
        await operator.ready()
        await stage.apply(*(each(name) for name in ("alpha", "beta") for each in (provider, secret)))
        await stage.apply(health_probe("cheap"))
        await stage.until_condition("cheap", "Probing", "NoGateway", "healthprobes")
        worker, alpha = Worker(), f"{stage.namespace}/alpha"
        async with Gateway().connected(operator.address), worker.connected(operator.address):
            await stage.until_condition("alpha", "Healthy", "ProbeOK")
            await stage.until("healthprobes", "cheap", lambda status: status.get("providers") == {"probed": 2, "up": 2})
            worker.answers[alpha] = refused
            status = await stage.until_condition("alpha", "Healthy", "CredentialRefused")
            assert (status["health"]["verdict"], status["health"]["reason"]) == ("Down", "CredentialRefused")
            words = 'it rejects the API key: 401 "Incorrect API key provided: [key]" (seen by probe cheap)'
            assert words in said(status, "Healthy")
            probe = await stage.until("healthprobes", "cheap", lambda status: status["providers"]["up"] == 1)
            assert said(probe, "Probing") == "2 providers probed every 1s: 1 up, alpha Down (CredentialRefused)"
            row = (await stage.kubectl("get", "healthprobes")).splitlines()[1].split()
            assert row[:6] == ["cheap", "1s", "True", "True", "2", "1"]
            before, probed = await stage.versions(), worker.probed
            await until(lambda: worker.probed >= probed + 6)
            assert await stage.versions() == before, "probes that find the same write nothing"
            del worker.answers[alpha]
            await stage.until_condition("alpha", "Healthy", "ProbeOK")
            described = await stage.kubectl("describe", "provider", "alpha")
            assert "Warning  CredentialRefused" in described
            assert "Normal   ProbeOK" in described


async def test_of_two_probes_the_worse_counts_and_both_say_so(stage: Stage) -> None:
    with stage.operator("op") as operator:
        await operator.ready()
        await stage.apply(provider("alpha"), secret("alpha"), health_probe("cheap"))
        await stage.apply(health_probe("strict", http={"path": "/health"}))
        worker, alpha = Worker(), f"{stage.namespace}/alpha"
        worker.answers[alpha] = broken_at_health
        async with Gateway().connected(operator.address), worker.connected(operator.address):
            status = await stage.until_condition("alpha", "Healthy", "Failing")
            assert status["health"]["verdict"] == "Down"
            assert '500 "oops" (seen by probe strict)' in said(status, "Healthy")

            async def told(name: str, other: str) -> None:
                words = f"alpha is also probed by HealthProbe {other}, and the worse verdict counts"
                await stage.until("healthprobes", name, lambda status: words in said(status, "Probing"))

            await asyncio.gather(told("cheap", "strict"), told("strict", "cheap"))
            await stage.kubectl("delete", "healthprobe", "strict")
            await stage.until_condition("alpha", "Healthy", "ProbeOK")


async def test_without_a_probe_nothing_is_probed(stage: Stage) -> None:
    with stage.operator("op") as operator:
        await operator.ready()
        await stage.apply(provider("alpha"), secret("alpha"))
        worker = Worker()
        async with Gateway().connected(operator.address), worker.connected(operator.address):
            await stage.until_condition("alpha", "Programmed", "Programmed")
            await asyncio.sleep(2)
            assert worker.probed == 0
            assert conditions(await stage.status("providers", "alpha"))["Healthy"] == ("Unknown", "NoTraffic")


async def test_when_the_prober_goes_the_next_one_finds_the_same_and_nothing_is_said(stage: Stage) -> None:
    await stage.apply(provider("alpha"), secret("alpha"), health_probe("cheap"))
    async with AsyncExitStack() as stack:
        operators = {name: stack.enter_context(stage.operator(name)) for name in ("one", "two")}
        for operator in operators.values():
            await operator.ready()
            worker = await stack.enter_async_context(Worker().connected(operator.address))
            worker.answers[f"{stage.namespace}/alpha"] = refused
            await stack.enter_async_context(Gateway().connected(operator.address))
        before = await stage.until_condition("alpha", "Healthy", "CredentialRefused")
        await stage.until_condition("cheap", "Probing", "Probing", "healthprobes")
        versions, first = await stage.versions(), await stage.holder()
        (other,) = operators.keys() - {first}
        operators[str(first)].program.kill()
        await stage.until_held(lambda holder: holder == other)
        await asyncio.sleep(5)
        assert await stage.status("providers", "alpha") == before
        assert await stage.versions() == versions
