"""What is done to Redis, to the workers, to the operators, and to the configuration."""

import asyncio
import json
import signal
from collections import Counter
from typing import Final

import aiohttp
import psutil

from limpet_lab.bench.faults.gateway import FaultGateway
from limpet_lab.bench.faults.objects import BY_TLS, MODEL, changed
from limpet_lab.bench.faults.places import WORKERS
from limpet_lab.bench.faults.scene import FaultStep, Scene
from limpet_lab.sim.faults import NO_FAULT, Fault

_ROOM_BYTES: Final = 8 * 1024 * 1024
"""What a worker that is to run out of memory may still take."""
_LARGE_BYTES: Final = 24 * 1024 * 1024
_LARGE_REQUESTS: Final = 4
"""At once: Envoy sends the next one to the worker that has fewer."""
_END_S: Final = 0.5
"""In which a worker that must end does."""
_LIMITED_S: Final = 2.0
_NEW_MODEL: Final = "deepseek/added-during-the-fault"


async def redis_dies(scene: Scene) -> None:
    """It is killed and refuses connections."""
    await scene.bed.redis.kill()


async def redis_returns(scene: Scene) -> None:
    """It is started again, empty."""
    await scene.bed.redis.start()
    await _memory_is_up(scene)


async def redis_stalls(scene: Scene) -> None:
    """It is stopped in the midst of its work."""
    scene.bed.redis.stall()


async def redis_goes_on(scene: Scene) -> None:
    """It goes on."""
    scene.bed.redis.go_on()
    await _memory_is_up(scene)


async def redis_forgets(scene: Scene) -> None:
    """FLUSHALL."""
    await scene.bed.redis.flush()


async def redis_slows(scene: Scene) -> None:
    """Each of its answers is late."""
    scene.bed.redis.slow_down()


async def redis_recovers(scene: Scene) -> None:
    """Its answers are on time."""
    scene.bed.redis.speed_up()
    await _memory_is_up(scene)


async def _memory_is_up(scene: Scene) -> None:
    async def is_up() -> bool:
        return all([await gateway.memory_is_up() for gateway in scene.bed.gateways])

    await scene.note_when("memory_up_s", is_up)


async def worker_dies(scene: Scene) -> None:
    """One worker of the first gateway is killed."""
    scene.bed.gateways[0].signal_worker(signal.SIGKILL)


async def worker_freezes(scene: Scene) -> None:
    """One worker of the first gateway stops; its parent has to notice."""
    scene.bed.gateways[0].signal_worker(signal.SIGSTOP)


async def worker_runs_out_of_memory(scene: Scene) -> None:
    """One worker of the first gateway may take hardly more memory, and gets large requests for an unknown model."""
    gateway = scene.bed.gateways[0]
    worker = gateway.workers()[0]
    # Of the address space much is reserved for threads already, and would be left for use.
    limit = worker.memory_info().data + _ROOM_BYTES
    worker.rlimit(psutil.RLIMIT_DATA, (limit, limit))
    scene.notes["large_requests"] = json.dumps(await _large_requests(gateway))
    await asyncio.sleep(_END_S)
    scene.notes["worker_ended"] = "no" if worker.is_running() and worker.status() != psutil.STATUS_ZOMBIE else "yes"


async def _large_requests(gateway: FaultGateway) -> dict[str, int]:
    """How many were answered how: by status and decision."""
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * _LARGE_BYTES}}
    body = json.dumps({"model": "nobody/serves-it", "messages": [{"role": "user", "content": [picture]}]}).encode()
    answers: Counter[str] = Counter()
    async with aiohttp.ClientSession(headers={"content-type": "application/json"}) as session:

        async def send() -> None:
            async with session.post(f"{gateway.place.base_url}/chat/completions", data=body) as answer:
                await answer.read()
                answers[f"{answer.status} {answer.headers.get('x-limpet-decision', '')}"] += 1

        await asyncio.gather(*(send() for _ in range(_LARGE_REQUESTS)))
    return dict(answers)


async def worker_is_replaced(scene: Scene) -> None:
    """The worker that lacks memory, if it still lives, is killed, and another one decides."""
    scene.bed.gateways[0].kill_workers()
    await all_workers_decide(scene)


async def all_workers_decide(scene: Scene) -> None:
    """Wait for the workers that are started in place of others."""

    async def all_decide() -> bool:
        return all([await gateway.deciding() for gateway in scene.bed.gateways])

    await scene.note_when("all_decide_s", all_decide)


async def operators_die(scene: Scene) -> None:
    """Both replicas are killed."""
    await scene.bed.kill_operators()


async def operators_return(scene: Scene) -> None:
    """Both replicas are started again, and serve."""
    await scene.bed.start_operators()
    await all_workers_decide(scene)


async def planes_die_and_a_change_is_made(scene: Scene) -> None:
    """Both replicas and every worker are killed; then a provider gets one more model."""
    await scene.bed.kill_operators()
    for gateway in scene.bed.gateways:
        gateway.kill_workers()
    scene.notes["models_before"] = json.dumps(provider_models(scene, scene.victim))
    models = [*provider_models(scene, scene.victim), {"name": _NEW_MODEL}]
    scene.bed.apply(changed(scene.bed.written, scene.victim, models=models))


async def operators_return_with_the_change(scene: Scene) -> None:
    """Both replicas are started again; how long until both gateways serve the new model."""
    await scene.bed.start_operators()

    async def arrived() -> bool:
        return all([await _lists(gateway, _NEW_MODEL) for gateway in scene.bed.gateways])

    await scene.note_when("arrived_s", arrived)


async def change_is_taken_back(scene: Scene) -> None:
    """The new model goes, and all workers decide."""
    models = json.loads(str(scene.notes["models_before"]))
    scene.bed.apply(changed(scene.bed.written, scene.victim, models=models))
    await all_workers_decide(scene)


def provider_models(scene: Scene, name: str) -> list[dict[str, str]]:
    """The models of a Provider as they are written now."""
    spec = next(
        each["spec"] for each in scene.bed.written if each["kind"] == "Provider" and each["metadata"]["name"] == name
    )
    return list(spec["models"])


async def _lists(gateway: FaultGateway, model: str) -> bool:
    try:
        async with aiohttp.ClientSession() as session, session.get(f"{gateway.place.base_url}/models") as answer:
            return model in await answer.text()
    except aiohttp.ClientError:
        return False


async def envoy_refuses(scene: Scene) -> None:
    """A Provider loses its own authority, and the file with everybody's does not exist: Envoy refuses the change."""
    scene.bed.apply(changed(scene.bed.written, BY_TLS, tls=None))

    async def said() -> bool:
        conditions = [gateway.condition(BY_TLS, "Programmed") for gateway in scene.bed.gateways]
        return all(each is not None and each.reason == "Rejected" for each in conditions)

    await scene.note_when("condition_s", said)
    condition = scene.bed.gateways[0].condition(BY_TLS, "Programmed")
    scene.notes["condition"] = "" if condition is None else f"{condition.reason}: {condition.message}"


async def envoy_accepts(scene: Scene) -> None:
    """The Provider is as it was."""
    authority = {"caCertificateRef": {"name": "authority", "key": "ca.crt"}}
    scene.bed.apply(changed(scene.bed.written, BY_TLS, tls=authority))


def clock_jumps(by_s: float) -> FaultStep:
    """The clock of the workers' machine jumps while a provider limits us for two seconds; one worker starts anew."""

    async def step(scene: Scene) -> None:
        await scene.seller.set_fault(Fault("status", status=429, retry_after_s=_LIMITED_S))
        await asyncio.sleep(_LIMITED_S)
        scene.bed.set_clock(by_s)
        scene.bed.gateways[0].signal_worker(signal.SIGKILL)
        await scene.seller.set_fault(NO_FAULT)

    return step


async def limit_is_over(scene: Scene) -> None:
    """How long until every worker counts the provider among those that may be asked."""
    in_a_row = 0

    async def is_over() -> bool:
        nonlocal in_a_row
        decisions = [await _decision(gateway, scene.victim) for gateway in scene.bed.gateways]
        in_a_row = 0 if "last_resort.all_out" in decisions else in_a_row + 1
        return in_a_row == 2 * WORKERS

    await scene.note_when("limit_over_s", is_over)


async def _decision(gateway: FaultGateway, only: str) -> str:
    """Why a request goes where it goes that allows this provider alone."""
    body = {"model": MODEL, "messages": [{"role": "user", "content": "Hello"}], "provider": {"only": [only]}}
    url = f"{gateway.place.base_url}/chat/completions"
    async with aiohttp.ClientSession() as session, session.post(url, json=body) as answer:
        await answer.read()
        return answer.headers.get("x-limpet-decision", "")


async def clock_is_right(scene: Scene) -> None:
    """It is set right, and the worker that learnt the wrong time starts anew."""
    scene.bed.set_clock(0.0)
    await all_workers_decide(scene)
    for gateway in scene.bed.gateways:
        gateway.kill_workers()
    await all_workers_decide(scene)
