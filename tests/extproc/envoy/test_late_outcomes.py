"""How late the outcomes of requests are taken in, and how many of them."""

from typing import Any

import pytest
from envoy.service.accesslog.v3 import als_pb2
from tests.extproc.envoy.log_world import NOW, Call, World, entry

from limpet_extproc.contract.envoy import PLAIN_NAMES
from limpet_extproc.envoy.cluster_names import cluster_names

DELAY = "limpet_outcome_delay_seconds"


@pytest.fixture
def world() -> World:
    return World()


def ended(ago_s: float) -> Any:
    """An entry of a request that took its second and a half and ended so long ago."""
    built = entry()
    built.common_properties.start_time.FromNanoseconds(round((NOW - ago_s - 1.5) * 1e9))
    return built


def batch(*entries: Any) -> bytes:
    message = als_pb2.StreamAccessLogsMessage()
    message.http_logs.log_entry.extend(entries)
    return message.SerializeToString()


async def test_a_batch_is_as_late_as_its_oldest_entry(world: World) -> None:
    await world.outcomes.stream(Call(batch(ended(0.9), ended(0.4), ended(0.0)), batch(ended(0.02))))
    assert world.counted(f"{DELAY}_sum") == pytest.approx(0.92)
    at_most = [world.counted(f"{DELAY}_bucket", le=bound) for bound in ("0.01", "0.025", "0.5", "1.0", "+Inf")]
    assert at_most == [0, 1, 1, 2, 2]
    assert world.counted("limpet_access_log_entries_total", envoy="own") == 4


async def test_a_clock_that_was_set_back_is_no_negative_delay(world: World) -> None:
    await world.outcomes.stream(Call(batch(ended(-5.0))))
    assert (world.counted(f"{DELAY}_count"), world.counted(f"{DELAY}_sum")) == (1, 0)


async def test_what_does_not_say_when_it_began_is_counted_alone(world: World) -> None:
    await world.outcomes.stream(Call(batch(entry()), batch()))
    assert world.counted(f"{DELAY}_count") == 0
    assert world.counted("limpet_access_log_entries_total", envoy="own") == 1


async def test_sidecars_are_counted_apart_and_by_no_clock(world: World) -> None:
    await world.outcomes.stream(Call(batch(ended(3.0), ended(2.0))), cluster_names(PLAIN_NAMES))
    assert world.counted(f"{DELAY}_count") == 0
    assert world.counted("limpet_access_log_entries_total", envoy="sidecar") == 2
    assert world.counted("limpet_access_log_entries_total", envoy="own") == 0
