"""The activity service beside a local gateway: a child of its own, which may end without a request noticing."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Final

from limpet_extproc.contract.state_folder import ACTIVITY_FILE, PAGE_TOKEN_FILE
from limpet_extproc.contract.worker_status import next_pause_s
from limpet_operator.laptop.children import ChildDied, Children
from limpet_operator.laptop.listen import CannotStart, find_listen_address

PAGE_HOST: Final = "127.0.0.1"
"""Also where the gateway is reachable from other machines: the page shows what everybody asks for."""
USUAL_PORT: Final = 8600
_PORTS_TRIED: Final = 20
PORT_FLAG: Final = "--activity-port PORT"

_NAME: Final = "activity"
_SOCKET: Final = "activity.sock"
_MEANWHILE: Final = "requests are served as before, and their records wait for it"
_STARTS_S: Final = 5.0
"""From its start until it takes records, at most; usually a second."""
_ASK_AGAIN_S: Final = 0.05
_UMASK: Final = 0o077
"""Its files are its user's alone."""
_GRACE_S: Final = 10.0
"""For records that it has taken and not written yet."""


def page_port(asked: int | None) -> int:
    """The port of the page: the one that is asked for, else the usual one or the next that is free.

    Raises CannotStart if that is in use.
    """
    if asked is not None:
        find_listen_address(PAGE_HOST, asked, PORT_FLAG)
        return asked
    for port in range(USUAL_PORT, USUAL_PORT + _PORTS_TRIED):
        try:
            find_listen_address(PAGE_HOST, port, PORT_FLAG)
        except CannotStart:
            continue
        return port
    raise CannotStart(
        f"cannot show the activity page: the ports {USUAL_PORT} to {USUAL_PORT + _PORTS_TRIED - 1} of {PAGE_HOST} are "
        f"in use. Choose another with {PORT_FLAG}, or go without it with --no-activity"
    )


@dataclass(frozen=True, slots=True)
class ActivityPlace:
    """Where the service keeps what it is told, and shows it."""

    state_folder: Path
    port: int

    @property
    def link(self) -> str:
        """The page's address, which signs in whoever follows it; without the token where its file cannot be read."""
        address = f"http://{PAGE_HOST}:{self.port}/"
        try:
            return f"{address}?token={(self.state_folder / PAGE_TOKEN_FILE).read_text().strip()}"
        except OSError:
            return address


class LocalActivity:
    """The running service: `start` it, `keep` it running, `stop` it after those who hand records over."""

    def __init__(self, run_dir: Path, place: ActivityPlace, python: str = sys.executable) -> None:
        """`python` runs it."""
        self._place = place
        self._python = python
        self._socket = run_dir / _SOCKET
        self._children = Children(run_dir)
        self._cannot: OSError | None = None
        """Why it was not started."""
        self._has_run = False

    @property
    def target(self) -> str:
        """Where workers hand records over."""
        return f"unix:{self._socket}"

    async def begin(self) -> None:
        """Start it, if that is possible: otherwise `keep` says why, and tries again."""
        try:
            await self.start()
        except OSError as error:
            self._cannot = error

    async def taking(self) -> bool:
        """Whether it takes records and shows them; waits for that a while, as it starts beside the gateway."""
        if self._cannot is not None:
            return False
        try:
            await self._children.until(self._answering(), _STARTS_S)
        except (TimeoutError, ChildDied):
            return False
        return True

    async def _answering(self) -> None:
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(self._socket)
            except OSError:
                await asyncio.sleep(_ASK_AGAIN_S)
            else:
                writer.close()
                return

    async def start(self) -> None:
        """Start it; it is ready a moment later. Raises OSError if it cannot be run."""
        self._cannot = None
        folder = self._place.state_folder
        command = [
            *(self._python, "-m", "limpet_activity", f"--listen={self.target}"),
            *(f"--store=sqlite:///{folder / ACTIVITY_FILE}", f"--page={PAGE_HOST}:{self._place.port}"),
            *(f"--page-token-file={folder / PAGE_TOKEN_FILE}", "--log-level=warning"),
        ]
        # Started again, it is behind those who serve requests; at first nobody does, and its page is waited for.
        await self._children.start(_NAME, command, umask=_UMASK, background=self._has_run)
        self._has_run = True

    async def keep(
        self,
        say: Callable[[str], None],
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """Never return; start it again when it ends or could not be started, and `say` so."""
        pause_s, told_why = 0.0, ""
        while True:
            began_s = clock()
            if self._cannot is None:
                try:
                    await self._children.watch()
                except ChildDied as died:
                    pause_s, told_why = next_pause_s(pause_s, clock() - began_s), ""
                    say(f"{died}\n{_NAME} is started again in {pause_s:.1f} s; {_MEANWHILE}")
            else:
                pause_s = next_pause_s(pause_s, 0.0)
                why = str(self._cannot)
                if why != told_why:
                    say(f"{_NAME} cannot be started, and is tried again: {why}; {_MEANWHILE}")
                told_why = why
            await sleep(pause_s)
            await self.begin()

    async def stop(self) -> None:
        """End it; what it has taken is written first."""
        await self._children.stop(_GRACE_S)
