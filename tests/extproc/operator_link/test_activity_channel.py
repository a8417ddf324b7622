"""The way to the activity service, over real gRPC."""

from pathlib import Path

import grpc
import pytest
from tests.extproc.operator_link.test_operator_channel import STRANGERS, tls_dir

from limpet_extproc.operator_link.activity_channel import ActivityChannel, TakingError
from limpet_lab.activity import TakingService
from limpet_operator.laptop.machine import free_port

pytestmark = pytest.mark.slow


async def test_batches_go_over_a_socket_and_find_a_service_that_comes_back(tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/activity.sock"
    channel = ActivityChannel(target, None)
    with pytest.raises(TakingError, match=r"activity\.sock") as away:
        await channel.send(b"early")
    assert not away.value.final
    async with TakingService().at(target) as first:
        await channel.send(b"one")
        first.refuses = grpc.StatusCode.FAILED_PRECONDITION
        with pytest.raises(TakingError) as waits:
            await channel.send(b"two")
        first.refuses = grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(TakingError) as never:
            await channel.send(b"two")
        assert (waits.value.final, never.value.final) == (False, True)
    with pytest.raises(TakingError):
        await channel.send(b"three")
    async with TakingService().at(target) as second:
        await channel.send(b"three")
        assert (first.data, second.data) == ([b"one"], [b"three"])
    await channel.close()


async def test_over_tcp_both_sides_show_certificates(tmp_path: Path) -> None:
    place = f"localhost:{free_port()}"
    async with TakingService().at(place, tls_dir(tmp_path / "service", "localhost")) as service:
        channel = ActivityChannel(f"dns:///{place}", tls_dir(tmp_path / "worker", "worker"))
        await channel.send(b"one")
        await channel.close()
        stranger = ActivityChannel(f"dns:///{place}", tls_dir(tmp_path / "other", "worker", by=STRANGERS))
        with pytest.raises(TakingError) as refused:
            await stranger.send(b"two")
        await stranger.close()
        none = ActivityChannel(f"dns:///{place}", tmp_path)
        with pytest.raises(TakingError, match=r"certificate files cannot be read: .*tls\.crt"):
            await none.send(b"two")
        assert not refused.value.final
        assert service.data == [b"one"]
