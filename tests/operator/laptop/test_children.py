"""Child processes: started, watched, their last words kept, and all ended in time."""

import asyncio
import signal
import sys
from pathlib import Path

import pytest

from limpet_operator.laptop.children import ChildDied, Children
from limpet_operator.laptop.priority import BACKGROUND_NICE

FOREVER = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
]


def dying(words: str, status: int) -> list[str]:
    return [sys.executable, "-c", f"import sys; print({words!r}); sys.exit({status})"]


async def logged(children: Children, name: str, text: str) -> None:
    """Return when the child has printed this; the time limit is that of the test runner."""
    while text not in (children.log_dir / f"{name}.log").read_text():  # noqa: ASYNC110 (a file sets no event)
        await asyncio.sleep(0.01)


async def test_a_child_that_ends_by_itself_is_reported_with_its_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path)
    await children.start("steady", FOREVER)
    await children.start("weak", dying("no more disk", 3))
    with pytest.raises(ChildDied, match=r"(?s)weak ended with status 3; its last words:\nno more disk"):
        await children.watch()
    await children.stop()


async def test_a_silent_end_has_no_last_words(tmp_path: Path) -> None:
    children = Children(tmp_path)
    await children.start("mute", [sys.executable, "-c", "pass"])
    with pytest.raises(ChildDied, match=r"^mute ended with status 0$"):
        await children.watch()
    await children.stop()


async def test_only_the_end_of_a_long_log_is_shown(tmp_path: Path) -> None:
    children = Children(tmp_path)
    await children.start("chatty", [sys.executable, "-c", "print('x' * 100_000 + 'the end')"])
    with pytest.raises(ChildDied) as caught:
        await children.watch()
    assert str(caught.value).endswith("the end")
    assert len(str(caught.value)) < 3000
    await children.stop()


async def test_all_children_are_ended_and_those_that_will_not_are_killed(tmp_path: Path) -> None:
    children = Children(tmp_path)
    willing = await children.start("willing", FOREVER)
    stubborn = await children.start("stubborn", STUBBORN)
    for name in ("willing", "stubborn"):
        await logged(children, name, "up")
    assert children.pid("willing") == willing.pid
    await children.stop(grace_s=0.2)
    assert (willing.returncode, stubborn.returncode) == (-signal.SIGTERM, -signal.SIGKILL)
    await children.stop()


async def test_a_child_has_a_session_of_its_own_so_that_ctrl_c_is_for_the_parent(tmp_path: Path) -> None:
    children = Children(tmp_path)
    await children.start("leader", [sys.executable, "-c", "import os; print(os.getsid(0) == os.getpid(), flush=True)"])
    with pytest.raises(ChildDied, match="True"):
        await children.watch()


async def test_the_environment_can_be_given(tmp_path: Path) -> None:
    children = Children(tmp_path)
    await children.start(
        "child", [sys.executable, "-c", "import os; print(os.environ['SECRET'])"], env={"SECRET": "42"}
    )
    with pytest.raises(ChildDied, match="42"):
        await children.watch()


async def test_one_in_the_background_lets_others_go_first(tmp_path: Path) -> None:
    children = Children(tmp_path)
    lower = f"os.getpriority(os.PRIO_PROCESS, 0) < {BACKGROUND_NICE}"
    waits = f"import os, time\nwhile {lower}: time.sleep(0.01)"  # It may run before its parent does again.
    await children.start("quiet", [sys.executable, "-c", waits], background=True)
    assert await asyncio.wait_for(children.wait("quiet"), 60) == 0


async def test_a_program_that_cannot_be_run_is_reported(tmp_path: Path) -> None:
    children = Children(tmp_path)

    async def try_it() -> None:
        await children.start("missing", [str(tmp_path / "no-such-program")])
        await children.watch()

    with pytest.raises((OSError, ChildDied), match="no-such-program"):
        await try_it()
    await children.stop()
