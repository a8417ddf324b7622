"""Workers of two gateways at two replicas, over real gRPC: health reaches them wherever they are connected."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.operator.fleet.replicas import Pair, Replica, soon
from tests.waiting import until

from limpet_extproc.contract.health_stream import ProbeAnswer, Probed, ProbeRequest, ProbeVerdicts
from limpet_extproc.operator_link.event_queue import EventQueue
from limpet_extproc.operator_link.health_link import HealthHooks, HealthLink
from limpet_extproc.providers.events import AnswerGenerated, WorkerEvent
from limpet_operator.serve.tasks import beside


class Worker:
    """The health of one worker."""

    def __init__(self, node: str) -> None:
        self.node = node
        self.queue = EventQueue()
        self.events: list[WorkerEvent] = []
        self.verdicts: list[ProbeVerdicts] = []

    async def _send(self, request: ProbeRequest) -> ProbeAnswer:
        return ProbeAnswer(request.id, 200, body=self.node)

    @asynccontextmanager
    async def at(self, replica: Replica) -> AsyncIterator["Worker"]:
        hooks = HealthHooks(self.events.append, self.verdicts.append, self._send)
        workers = replica.control_plane.health.exchange.workers
        async with beside(HealthLink(replica.address, self.node, self.queue, hooks, sleep=soon).run()):
            await until(lambda: replica.control_plane.health.exchange.workers == workers + 1)
            yield self


async def test_events_verdicts_and_probes_pass_between_replicas(pair: Pair) -> None:
    a, b = pair
    here, sibling, there = Worker("x"), Worker("x"), Worker("y")
    await until(lambda: all(replica.count("limpet_peers") == 1 for replica in pair))
    async with here.at(a), sibling.at(b), there.at(b):
        for number in range(50):
            here.queue.add(AnswerGenerated("p", number, 1.0))
        await until(lambda: len(there.events) == 50)
        assert there.events == [AnswerGenerated("p", number, 1.0) for number in range(50)]
        assert sibling.events == here.events == [], "siblings share events by themselves"
        verdicts = ProbeVerdicts((Probed("p", "Down", "Overloaded"),), 60.0)
        a.control_plane.health.exchange.publish(verdicts)
        await until(lambda: all(worker.verdicts for worker in (here, sibling, there)))
        assert {each.probed for worker in (here, sibling, there) for each in worker.verdicts} == {verdicts.probed}
        answer = await a.control_plane.health.exchange.ask(ProbeRequest(0, "p", "GET", "/models"), "y")
        assert (answer.status, answer.body) == (200, "y")
    await until(lambda: a.control_plane.health.exchange.workers == 0)
    async with there.at(b):
        answer = await a.control_plane.health.exchange.ask(ProbeRequest(0, "p", "GET", "/models"))
        assert answer.body == "y"
