"""The course of the demo: the same conversations with stickiness and without, then a seller dies and comes back."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any, Final, Protocol

from openai import AsyncOpenAI

from limpet_extproc.contract.ledger import ALL_HOURS, NOTHING_SPENT, RowSums
from limpet_extproc.contract.state_folder import LEDGER_FILE
from limpet_extproc.memory.ledger_file import read_ledger_file
from limpet_lab.bed import Bed, objects_for, policy_object
from limpet_lab.demo.quickstart import MODEL, quickstart_sellers
from limpet_lab.demo.result import Failover, Part, Result, Spent, failover, part
from limpet_lab.demo.script import conversations
from limpet_lab.demo.talk import Dialogue, Turn, next_turns
from limpet_operator.laptop.local import LocalSettings
from limpet_operator.laptop.state import prepared_state

TURNS: Final = 4
FAILOVER_TURNS: Final = 6
KILL_AFTER: Final = 2
RETURN_AFTER: Final = 4

_TAKES_EFFECT_S: Final = 60.0


class Screen(Protocol):
    """Where the demo is shown."""

    def note(self, line: str) -> None:
        """Something happened."""

    def scene(self, title: str, names: list[str], turns: int) -> AbstractContextManager[Callable[[Turn], None]]:
        """Begin a part of the demo; the function that is returned takes each turn when it ends."""


class PolicyNotInForceError(Exception):
    """A changed policy did not reach the data plane in time."""


async def play(screen: Screen) -> Result:
    """Run everything. Raises what can go wrong with sellers and gateway; errors of clients are part of the result."""
    screen.note("starting three simulated sellers, Envoy, the operator and ext_proc …")
    with TemporaryDirectory(prefix="limpet-demo-") as place:
        folder = prepared_state({"XDG_STATE_HOME": place}, Path(place))
        settings = LocalSettings(state_folder=folder)
        async with Bed.start(quickstart_sellers(), model=MODEL, settings=settings) as bed:
            screen.note(f"ready: OpenAI's SDK talks to {bed.base_url}")
            return await _parts(bed, screen, folder / LEDGER_FILE)


async def _parts(bed: Bed, screen: Screen, ledger: Path) -> Result:
    sticky = await _conversations(bed, screen, "1. Sticky (the default)", "sticky")
    spent = await _spent(ledger, sum(map(len, sticky.served.values())))
    await _switch(bed, "Off")
    off = await _conversations(bed, screen, "2. The same conversations with mode: Off", "off")
    await _switch(bed, "Enforce")
    lost = await _failover(bed, screen)
    return Result(sticky, off, lost, spent)


def _total(ledger: Path) -> RowSums:
    total = NOTHING_SPENT
    for sums in (read_ledger_file(ledger, *ALL_HOURS) if ledger.exists() else {}).values():
        total = total.plus(sums)
    return total


async def _spent(file: Path, requests: int) -> Spent:
    """What the ledger has of so many requests, as soon as it has them all; they are the first that were sent."""
    deadline_s = monotonic() + _TAKES_EFFECT_S
    while True:
        total = _total(file)
        if total.requests >= requests or monotonic() > deadline_s:
            return Spent(total.requests, total.paid_usd, total.uncached_usd, total.spread_usd, total.cheapest_usd)
        await asyncio.sleep(0.1)


async def _conversations(bed: Bed, screen: Screen, title: str, user: str) -> Part:
    await _fresh(bed)
    dialogues = [Dialogue(script) for script in conversations(TURNS)]
    async with _client(bed, user) as client:
        with screen.scene(title, [each.script.name for each in dialogues], TURNS) as on_turn:
            for _ in range(TURNS):
                await next_turns(client, dialogues, on_turn)
    reports = [await seller.ledger() for seller in bed.sellers]
    return part(_turns(dialogues), sum(float(report.totals.usd or 0) for report in reports))


async def _failover(bed: Bed, screen: Screen) -> Failover:
    await _fresh(bed)
    dialogues = [Dialogue(script) for script in conversations(FAILOVER_TURNS)]
    killed = ""
    async with _client(bed, "failover") as client:
        with screen.scene(
            "3. A seller dies and comes back", [d.script.name for d in dialogues], FAILOVER_TURNS
        ) as on_turn:
            for number in range(1, FAILOVER_TURNS + 1):
                await next_turns(client, dialogues, on_turn)
                if number == KILL_AFTER:
                    killed = Counter(dialogue.turns[-1].provider for dialogue in dialogues).most_common(1)[0][0]
                    bed.sellers[killed].kill()
                    screen.note(f"killed {killed} (SIGKILL) after turn {number}")
                if number == RETURN_AFTER:
                    await bed.sellers[killed].restart()
                    screen.note(f"{killed} is back after turn {number}, its cache empty")
    return failover(_turns(dialogues), killed, KILL_AFTER)


def _client(bed: Bed, user: str) -> AsyncOpenAI:
    """Each part has its own user, so what the gateway remembers of one part can't help another."""
    return AsyncOpenAI(base_url=bed.base_url, api_key=f"demo-{user}", max_retries=0)


def _turns(dialogues: list[Dialogue]) -> list[Turn]:
    return [turn for dialogue in dialogues for turn in dialogue.turns]


async def _fresh(bed: Bed) -> None:
    """Cold caches and empty ledgers."""
    await asyncio.gather(*(seller.reset() for seller in bed.sellers))


async def _switch(bed: Bed, mode: str) -> None:
    """Change the policy of the running gateway, and wait until decisions follow it."""
    objects: list[Any] = [each for seller in bed.sellers for each in objects_for(seller, MODEL)]
    bed.apply([*objects, policy_object(mode=mode)])
    wanted = ("off.",) if mode == "Off" else ("first.", "sticky.", "unsticky.")  # the question below is a short prompt
    try:
        async with asyncio.timeout(_TAKES_EFFECT_S), _client(bed, f"until-{mode}") as client:
            while not (await _decision(client)).startswith(wanted):  # noqa: ASYNC110 - only an answer shows it
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise PolicyNotInForceError(
            f"mode {mode} is not in force {_TAKES_EFFECT_S:.0f} s after it was applied; is the machine overloaded?"
        ) from None


async def _decision(client: AsyncOpenAI) -> str:
    raw = await client.chat.completions.with_raw_response.create(
        model=MODEL, messages=[{"role": "user", "content": "Are you there?"}], max_tokens=1
    )
    return str(raw.headers.get("x-limpet-decision", ""))
