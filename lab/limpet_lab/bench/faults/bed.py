"""The whole installation: sellers, Redis, a name server, and two gateways with a replica of the operator each."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from limpet_lab.bed import Object
from limpet_lab.bench.faults import objects
from limpet_lab.bench.faults.authority import Authority
from limpet_lab.bench.faults.decision_times import Buckets
from limpet_lab.bench.faults.gateway import FaultGateway
from limpet_lab.bench.faults.name_server import NameServer
from limpet_lab.bench.faults.places import GatewayPlace, OperatorOrder, gateway_places
from limpet_lab.bench.faults.shared_redis import SharedRedis
from limpet_lab.sim.sellers import Sellers
from limpet_operator.laptop.run_dir import RunDir

GATEWAYS: Final = ("gateway-a", "gateway-b")


@dataclass(slots=True)
class FaultBed:
    """What runs, for the faults to break."""

    sellers: Sellers
    authority: Authority
    redis: SharedRedis
    names: NameServer
    folder: Path
    gateways: Sequence[FaultGateway] = ()
    written: list[Object] = field(default_factory=list)
    """The objects in force."""

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        """Everything, ready to serve; it has ended when the block ends.

        Raises RedisMissingError, CannotStart, ChildDied and SellerFailedError.
        """
        authority = Authority()
        async with AsyncExitStack() as stack:
            run_dir = RunDir()
            stack.callback(run_dir.cleanup)
            (run_dir.path / "objects").mkdir()
            bed = cls(
                await stack.enter_async_context(Sellers.start(objects.seller_configs(authority))),
                authority,
                await stack.enter_async_context(SharedRedis(run_dir.path)),
                await stack.enter_async_context(NameServer()),
                run_dir.path,
            )
            bed.apply(objects.whole(bed.sellers, authority))
            bed.set_clock(0.0)
            places = gateway_places(run_dir.path, GATEWAYS)
            bed.gateways = [FaultGateway(place, bed.clock, bed._extproc_flags()) for place in places]
            for gateway in bed.gateways:
                stack.push_async_callback(gateway.children.stop)
                await gateway.start(bed.order(gateway.place))
            for gateway in bed.gateways:
                await gateway.ready()
            yield bed

    def order(self, place: GatewayPlace) -> OperatorOrder:
        """What that gateway's replica of the operator is started with."""
        peers = tuple(f"unix:{self.folder / name}/operator.sock" for name in GATEWAYS)
        return OperatorOrder(place, peers, str(self.folder / "objects"), self.names.port)

    def apply(self, written: Iterable[Object]) -> None:
        """Make these objects the whole configuration, as soon as an operator reads them."""
        self.written = [*written]
        objects.write(self.written, self.folder / "objects")

    def healthy(self, provider: str) -> bool:
        """Whether both replicas' status calls it so."""
        conditions = [gateway.condition(provider, "Healthy") for gateway in self.gateways]
        return all(each is not None and each.status == "True" for each in conditions)

    async def decision_times(self) -> Buckets:
        """How long all workers took for all decisions so far."""
        total: dict[float, float] = defaultdict(float)
        for gateway in self.gateways:
            for bound, count in (await gateway.decision_times()).items():
                total[bound] += count
        return total

    async def start_operators(self) -> None:
        """Start both replicas, after they were killed."""
        for gateway in self.gateways:
            await gateway.start_operator(self.order(gateway.place))

    async def kill_operators(self) -> None:
        """End both replicas at once."""
        await asyncio.gather(*(gateway.kill_operator() for gateway in self.gateways))

    def set_clock(self, wrong_by_s: float) -> None:
        """Set the clock of the workers' machine wrong by so much."""
        self.clock.write_text(f"{wrong_by_s}")

    @property
    def clock(self) -> Path:
        """The file by which the workers' clock is set."""
        return self.folder / "clock"

    def _extproc_flags(self) -> list[str]:
        key = self.folder / "memory-key"
        key.write_bytes(b"the same for all gateways of one installation")
        return [f"--redis-url={self.redis.url}", f"--memory-key-file={key}"]
