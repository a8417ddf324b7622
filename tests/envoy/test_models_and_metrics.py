"""What can be asked for, and what both planes count; nowhere a word of a prompt or a key."""

from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from tests.envoy.cast import LONG, PLAIN, say
from tests.envoy.stage import Stage
from tests.waiting import until

from limpet_lab.sim.faults import Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_SECRETS = ("Sesame opens the rock", "key-of-", "client-key-", "a-very-private-session", "anne@example")


async def test_the_sdk_lists_the_models(stage: Stage) -> None:
    await stage.serve("a", "b")
    listed = {model.id: model async for model in stage.client.models.list()}
    assert set(listed) == {stage.model, PLAIN}
    assert listed[PLAIN].object == "model"
    assert listed[PLAIN].owned_by == f"{stage.provider('a')}, {stage.provider('b')}"


async def _traffic(stage: Stage) -> None:
    """Every kind of event that is counted, with things in it that nobody may read later."""
    await stage.serve("a", "b")
    secret = [say(LONG, "system"), say("Sesame opens the rock")]
    for _ in range(2):
        await stage.ask(secret, headers={"x-session-id": "a-very-private-session"}, user="anne@example")
        await stage.settle()
    await stage.sellers["a"].set_fault(Fault(kind="status", status=500))
    await stage.ask(secret, extra={"provider": {"order": [stage.provider("a"), stage.provider("b")]}})
    await stage.post(b'{"model":"plain","messages":"Sesame opens the rock"}')
    await stage.settle()


async def test_the_data_plane_counts_what_was_promised(stage: Stage) -> None:
    hits = await stage.metric("limpet_decisions_total", reason="sticky.hit")
    refused = await stage.metric("limpet_decisions_total", reason="refused.bad_request")
    await _traffic(stage)

    async def refusal_counted() -> bool:
        return await stage.metric("limpet_decisions_total", reason="refused.bad_request") == refused + 1

    await until(refusal_counted, "the refusal, of which no access log tells")
    assert await stage.metric("limpet_decisions_total", reason="sticky.hit") == hits + 1
    assert await stage.metric("limpet_requests_total", outcome="ok") == 3
    assert await stage.metric("limpet_requests_total", outcome="ok", decision="sticky.hit") == 1
    assert await stage.metric("limpet_attempts_total", outcome="ok") == 3
    assert await stage.metric("limpet_attempts_total", outcome="failed_500") == 1
    prompt = await stage.metric("limpet_prompt_tokens_total", model=stage.model)
    cached = await stage.metric("limpet_cached_tokens_total", model=stage.model)
    assert 0 < cached < prompt
    assert await stage.metric("limpet_output_tokens_total", model=stage.model) > 0

    async def decisions_timed() -> bool:
        return await stage.metric("limpet_added_seconds_count") > 0

    await until(decisions_timed, "how long decisions took, which is shown once a second")
    assert await stage.metric("limpet_catalog_timestamp_seconds") > 0
    assert await stage.metric("limpet_catalog_connected") == 1
    assert await stage.metric("limpet_conversations") > 0
    assert await stage.metric("limpet_extproc_failures_total") == 0


async def test_the_control_plane_counts_what_envoy_took(stage: Stage) -> None:
    await stage.serve("a", "b")
    samples = {
        (sample.name, sample.labels.get("type"))
        for family in text_string_to_metric_families(generate_latest(stage.gateway.registry).decode())
        for sample in family.samples
        if sample.value > 0
    }
    for kind in ("Cluster", "Listener", "RouteConfiguration", "Secret"):
        assert ("limpet_xds_acks_total", kind) in samples
        assert ("limpet_xds_resources", kind) in samples
    assert ("limpet_xds_streams", None) in samples
    assert ("limpet_catalog_streams", None) in samples
    assert ("limpet_objects", None) in samples
    assert ("limpet_build_info", None) in samples
    assert not any(name == "limpet_xds_nacks_total" for name, _ in samples)


async def test_an_envoy_that_is_connected_is_counted(stage: Stage) -> None:
    await stage.serve("a")

    async def counted() -> bool:
        return stage.gateway.registry.get_sample_value("limpet_gateways") == 1

    await until(counted, "the gateway to be counted")


async def test_pages_hold_no_time_at_which_a_counter_was_made(stage: Stage) -> None:
    await _traffic(stage)
    for page in (await stage.metrics_text(), generate_latest(stage.gateway.registry).decode()):
        assert "_total" in page
        assert "_created" not in page


def _everything_written(stage: Stage, metrics: str) -> Iterator[tuple[str, str]]:
    yield "the data plane's metrics", metrics
    yield "the control plane's metrics", generate_latest(stage.gateway.registry).decode()
    for log in sorted(stage.gateway.children.log_dir.glob("*.log")):
        yield log.name, log.read_text(errors="replace")


async def test_no_prompt_and_no_key_is_in_any_metric_or_log(stage: Stage) -> None:
    await _traffic(stage)
    places = list(_everything_written(stage, await stage.metrics_text()))
    assert {"envoy.log", "ext_proc.log"} <= {place for place, _ in places}
    for place, text in places:
        for secret in _SECRETS:
            assert secret not in text, f"{secret!r} is in {place}"
