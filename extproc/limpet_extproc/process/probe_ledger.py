"""Probes by completion cost money: notes it in the ledger of the worker that sent them, apart from that of traffic."""

from collections.abc import Awaitable, Callable

import msgspec

from limpet_extproc.contract.health_stream import ProbeAnswer, ProbeRequest
from limpet_extproc.contract.ledger import HOUR_S, RowKey, RowSums
from limpet_extproc.contract.prices import Price
from limpet_extproc.contract.probe_cost import cost_usd
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.memory.ledger import LedgerBook


class _Asked(msgspec.Struct):
    model: str = ""
    """The provider's name for it."""


class CountedProbes:
    """Sends probes by `send`, and counts what their answers cost."""

    def __init__(
        self,
        send: Callable[[ProbeRequest], Awaitable[ProbeAnswer]],
        snapshot: Callable[[], Snapshot],
        book: LedgerBook,
        clock: Callable[[], float],
    ) -> None:
        self._send = send
        self._snapshot = snapshot
        self._book = book
        self._clock = clock

    async def send(self, request: ProbeRequest) -> ProbeAnswer:
        """What became of it."""
        answer = await self._send(request)
        if request.method == "POST" and answer.status // 100 == 2:
            self._count(request, answer)
        return answer

    def _count(self, request: ProbeRequest, answer: ProbeAnswer) -> None:
        try:
            asked = msgspec.json.decode(request.body, type=_Asked)
        except msgspec.MsgspecError:
            return
        model, price = _model_and_price(self._snapshot(), request.provider, asked.model)
        usd = cost_usd(answer, price)
        key = RowKey(int(self._clock() // HOUR_S), "probe", request.provider, model)
        if usd is not None:
            sums = RowSums(1, paid_usd=usd, uncached_usd=usd, spread_usd=usd, cheapest_usd=usd)
        else:
            sums = RowSums(1, unpriced=int(price is None), unmetered=int(price is not None))
        self._book.add(key, sums)


def _model_and_price(snapshot: Snapshot, provider: str, upstream_name: str) -> tuple[str, Price | None]:
    """What clients call a provider's model, and what it costs now; None: unknown."""
    known = snapshot.providers.get(provider)
    model = next((each for each in known.models if each.upstream_name == upstream_name), None) if known else None
    if known is None or model is None:
        return upstream_name, None
    for api in (*known.dialects, *known.endpoints):
        lane = snapshot.lanes.get((api, model.name))
        if lane is not None and provider in lane.by_provider:
            return model.name, lane.by_provider[provider].price
    return model.name, model.price
