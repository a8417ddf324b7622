"""What a collector and a log shipper see of real requests: the client's trace, their attempts, and no word of them."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace.sampling import DEFAULT_ON
from tests.envoy.cast import LONG, say
from tests.envoy.test_activity import Scene, scene

from limpet_activity.export.json_lines import json_line
from limpet_activity.export.otlp_encoding import encoded
from limpet_activity.export.spans import spans_of
from limpet_lab.sim.faults import Fault
from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_TRACE, _SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
_MARK, _KEY, _USER, _SESSION = (
    "marked-words-of-a-prompt",
    "sk-marked-key-0123456789abcdef",
    "marked-user",
    "marked-session",
)


@pytest_asyncio.fixture(loop_scope="session")
async def told(number: int, sellers: Sellers, parser: Parser) -> AsyncIterator[Scene]:
    async with scene(number, sellers, parser) as ready:
        yield ready


async def test_a_failover_is_one_span_of_the_clients_trace_with_its_attempts_below(told: Scene) -> None:
    stage = await told.stage.serve("a", "b")
    opener = [say(f"{LONG} {_MARK}", "system"), say(_MARK)]
    sampled, unsampled = (f"00-{_TRACE}-{_SPAN}-{flags}" for flags in ("01", "00"))
    names = {"x-session-id": _SESSION}
    first = await stage.ask(opener, key=_KEY, user=_USER, headers={"traceparent": unsampled, **names})
    await stage.settle()
    await stage.sellers[first.seller].set_fault(Fault(kind="status", status=503))
    await stage.ask(opener, key=_KEY, user=_USER, headers={"traceparent": sampled, **names})
    before, record = await told.records(2)
    spans = spans_of(Resource({}), DEFAULT_ON)
    assert not spans(before)
    request, failed, served = spans(record)
    assert request.context is not None
    assert request.parent is not None
    assert (f"{request.context.trace_id:032x}", f"{request.parent.span_id:016x}") == (_TRACE, _SPAN)
    assert failed.parent == served.parent == request.context
    assert (failed.attributes or {})["http.response.status_code"] == 503
    for span in (failed, served):
        assert span.start_time is not None
        assert span.end_time is not None
        assert (request.start_time or 0) <= span.start_time <= span.end_time <= (request.end_time or 0)
    assert (request.attributes or {})["gen_ai.operation.name"] == "chat"
    assert (request.attributes or {})["limpet.decision"] == record.reason
    told_of = encoded(spans(record)) + b"".join(map(json_line, told.service.records))
    for marked in (_MARK, _KEY, _USER, _SESSION):
        assert marked.encode() not in told_of
