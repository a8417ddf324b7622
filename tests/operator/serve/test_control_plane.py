"""A plan reaches Envoy and worker through one object, which starts and stops as one."""

from pathlib import Path

import grpc
import pytest
from prometheus_client import CollectorRegistry
from tests.operator.conftest import Build
from tests.operator.fake_envoy import FakeEnvoy
from tests.operator.fleet.replicas import Worker
from tests.waiting import until

from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.resource import CLUSTER
from limpet_operator.serve.control_plane import ControlPlane
from limpet_operator.serve.metrics import build_metrics
from limpet_operator.serve.rollout import RemovalTimeouts


async def test_a_provider_comes_and_goes(build: Build, tmp_path: Path) -> None:
    registry = CollectorRegistry()
    control_plane = ControlPlane(
        EnvoySettings("127.0.0.1", 10000, ()), build_metrics(registry, "1"), RemovalTimeouts(0.0)
    )
    address = f"unix:{tmp_path}/control-plane.sock"
    await control_plane.start(address)
    envoy, worker = FakeEnvoy(address, "e"), Worker()
    async with envoy.running(), worker.beside("e", address):
        control_plane.apply(build.plan(build.raw("Provider"), build.secret()))
        await until(lambda: worker.names == {"deepseek"})
        assert control_plane.version("deepseek")
        assert "deepseek" in envoy.has[CLUSTER]
        assert registry.get_sample_value("limpet_objects", {"kind": "Provider", "accepted": "true"}) == 1
        control_plane.apply(build.plan())
        await control_plane.drained()
        assert worker.names == set()
        assert control_plane.version("deepseek") is None
        await until(lambda: "deepseek" not in envoy.has[CLUSTER])
    await control_plane.stop(1.0)


async def test_an_address_in_use_is_an_error(tmp_path: Path) -> None:
    control_plane = ControlPlane(
        EnvoySettings("127.0.0.1", 10000, ()), build_metrics(CollectorRegistry(), "1"), RemovalTimeouts()
    )
    with pytest.raises(OSError, match="can't listen for Envoy and ext_proc"):
        await control_plane.start(f"unix:{tmp_path}/no/such/folder.sock")
    await control_plane.stop()


async def test_stopping_in_good_order_and_at_once(tmp_path: Path) -> None:
    for grace_s, code in ((1.0, grpc.StatusCode.OK), (None, grpc.StatusCode.UNAVAILABLE)):
        control_plane = ControlPlane(
            EnvoySettings("127.0.0.1", 10000, ()), build_metrics(CollectorRegistry(), "1"), RemovalTimeouts()
        )
        address = f"unix:{tmp_path}/{grace_s}.sock"
        await control_plane.start(address)
        envoy = FakeEnvoy(address, "e")
        async with envoy.stream():
            await envoy.subscribe(CLUSTER)
            await until(lambda acks=control_plane.acks: acks.connected("e"))
            await control_plane.stop(grace_s)
            assert await envoy.call.code() is code
