"""What people see of a provider's health in a real API server: columns, conditions, models, Events."""

import asyncio
import time

from tests.cluster.operator.gateway import Gateway
from tests.cluster.operator.objects import provider, secret
from tests.cluster.status.stage import Stage, conditions
from tests.cluster.status.worker import Worker
from tests.waiting import until

from limpet_extproc.contract.catalog import SKETCH_REGISTERS, CacheUse, Evidence, ModelEvidence

TWO_MODELS = [{"name": "flash"}, {"name": "pro"}]


def well(**fields: object) -> Evidence:
    now = time.time()
    return Evidence(now, since_s=now - 60, **fields)  # type: ignore[arg-type]


async def test_kubectl_shows_how_a_provider_and_its_models_are_doing(stage: Stage) -> None:
    with stage.operator("op") as operator:
        await operator.ready()
        await stage.apply(provider("alpha", models=TWO_MODELS), secret("alpha"))
        await stage.until_condition("alpha", "Programmed", "NoGateway")
        worker, alpha = Worker(), f"{stage.namespace}/alpha"
        async with Gateway().connected(operator.address), worker.connected(operator.address):
            await stage.kubectl("wait", "--for=condition=Programmed", "--timeout=20s", "provider/alpha")
            worker.report(alpha, well())
            await stage.until_condition("alpha", "Healthy", "TrafficOK")
            now = time.time()
            flash = ModelEvidence("flash", now, since_s=now - 60)
            pro = ModelEvidence("pro", 0.0, now, "down", now, "ModelNotFound", 404, "no model pro", now)
            worker.report(alpha, well(models=(pro, flash)))
            status = await stage.until_condition("alpha", "Healthy", "ModelNotFound")
            assert (status["health"]["verdict"], status["health"]["reason"]) == ("Degraded", "ModelNotFound")
            assert [(each["name"], each["verdict"]) for each in status["health"]["models"]] == [
                ("flash", "Up"),
                ("pro", "Down"),
            ]
            refused = Evidence(now, now, "down", now, cause="CredentialRefused", status=401, message="bad key")
            worker.report(alpha, refused)
            status = await stage.until_condition("alpha", "Healthy", "CredentialRefused")
            assert status["health"]["verdict"] == "Down"
            assert "models" not in status["health"]
            row = (await stage.kubectl("get", "providers", "-o", "wide")).splitlines()[1].split()
            assert row[3:5] == ["Down", "CredentialRefused"]
            worker.report(alpha, well())
            await stage.until_condition("alpha", "Healthy", "TrafficOK")
            described = await stage.kubectl("describe", "provider", "alpha")
            assert "Warning  ModelNotFound" in described
            assert "Warning  CredentialRefused" in described
            assert 'it rejects the API key: 401 "bad key" (seen by requests)' in described
            assert "Normal   TrafficOK" in described
        lines = [line for line in operator.log() if line["logger"].endswith("health_log")]
        assert [line["reason"] for line in lines] == ["ModelNotFound", "CredentialRefused", "TrafficOK"]
        assert [line["level"] for line in lines] == ["warning", "warning", "info"]


async def test_timeouts_that_are_too_short_are_told_with_the_vendors_default(stage: Stage) -> None:
    with stage.operator("op") as operator:
        await operator.ready()
        await stage.apply(provider("alpha", timeouts={"firstByte": "2s"}), secret("alpha"))
        worker, alpha = Worker(), f"{stage.namespace}/alpha"
        async with Gateway().connected(operator.address), worker.connected(operator.address):
            await stage.kubectl("wait", "--for=condition=Programmed", "--timeout=30s", "provider/alpha")
            worker.report(alpha, well(timeouts=2))
            await stage.until_condition("alpha", "Healthy", "TrafficOK")
            worker.report(alpha, well(timeouts=3))
            await stage.until_condition("alpha", "Healthy", "TimeoutTooShort")

            async def told() -> bool:
                events = await stage.kubectl("get", "events")
                return "timeouts.firstByte is 2s, and for DeepSeek 10m by default" in events

            await until(told)


async def test_a_drained_provider_can_be_waited_for(stage: Stage) -> None:
    with stage.operator("op") as operator:
        await operator.ready()
        await stage.apply(provider("alpha", drain=True), secret("alpha"))
        worker, alpha = Worker(), f"{stage.namespace}/alpha"
        async with Gateway().connected(operator.address), worker.connected(operator.address):
            await stage.until_condition("alpha", "Drained", "ConversationsUnknown")
            worker.report(alpha, well(cache=CacheUse(100, 90, b"\1" * SKETCH_REGISTERS)))
            await stage.until_condition("alpha", "Drained", "ConversationsLeft")
            waiting = asyncio.create_task(
                stage.kubectl("wait", "--for=condition=Drained", "--timeout=20s", "provider/alpha")
            )
            worker.report(alpha, well())
            await waiting

            async def told() -> bool:
                events = await stage.kubectl("get", "events")
                return "no conversation is warm there any more; it can be removed" in events

            await until(told)
            await stage.apply(provider("alpha"))
            await stage.until("providers", "alpha", lambda status: "Drained" not in conditions(status))
