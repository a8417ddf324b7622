"""The health stream: what a worker sees and other gateways need to know, the verdicts of probes, and the probes.

The other side is `limpet_extproc.operator_link.health_link`, the messages are `limpet_extproc.contract.health_stream`.
Who is told what is decided by `health_exchange`.
"""

import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc

from limpet_extproc.contract.catalog import ContractMismatch
from limpet_extproc.contract.health_stream import (
    HEALTH_METHOD,
    HealthHello,
    Observed,
    ProbeAnswer,
    decode_report,
)
from limpet_operator.serve.health_exchange import HealthExchange, HealthWorker
from limpet_operator.serve.tasks import OpenStreams

_log = logging.getLogger(__name__)


def _hello(data: bytes) -> HealthHello:
    report = decode_report(data)
    if isinstance(report, HealthHello):
        return report
    raise ContractMismatch("a worker's first message must be HealthHello: run the same Limpet version on both sides")


class HealthServer:
    """Serves the exchange to every connected worker. All methods belong to the event loop that serves."""

    def __init__(self, exchange: HealthExchange) -> None:
        self.exchange = exchange
        self._open = OpenStreams()

    def handler(self) -> "grpc.GenericRpcHandler[Any, Any]":
        """The service for `limpet_operator.serve.grpc_server.serve`: one method, raw bytes."""
        service, _, method = HEALTH_METHOD.strip("/").partition("/")
        return grpc.method_handlers_generic_handler(
            service, {method: grpc.stream_stream_rpc_method_handler(self._serve)}
        )

    def close(self) -> None:
        """End every stream in good order; for just before the server's `stop(grace)`, which would break them off."""
        self._open.close()

    async def _serve(self, reports: AsyncIterator[bytes], context: Any) -> None:
        try:
            hello = _hello(await anext(reports))
            # The worker reports nothing before it knows that it is not refused.
            await context.send_initial_metadata(())
            worker = self.exchange.join(hello.node)
            try:
                async with self._open.beside(self._read(reports, worker), grpc.RpcError) as reader:
                    reader.add_done_callback(lambda _: worker.wake.set())
                    while not reader.done():
                        worker.wake.clear()
                        while (data := worker.outbox.next()) is not None:
                            await context.write(data)
                        await worker.wake.wait()
            finally:
                self.exchange.leave(worker)
        except StopAsyncIteration:
            return
        except ContractMismatch as error:
            _log.warning("refused a health stream: %s", error)
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))

    async def _read(self, reports: AsyncIterator[bytes], worker: HealthWorker) -> None:
        async for data in reports:
            match decode_report(data):
                case Observed(events):
                    self.exchange.observed(worker, events)
                case ProbeAnswer() as answer:
                    self.exchange.answered(worker, answer)
                case HealthHello():
                    raise ContractMismatch("a worker sends HealthHello once, at the start of its stream")
