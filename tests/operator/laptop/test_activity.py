"""The activity service as a child: where its page is, and what becomes of it when it ends."""

import asyncio
import socket
import sys
from pathlib import Path

import pytest

from limpet_extproc.contract.state_folder import PAGE_TOKEN_FILE
from limpet_operator.laptop.activity import PAGE_HOST, USUAL_PORT, ActivityPlace, LocalActivity, page_port
from limpet_operator.laptop.listen import CannotStart


def test_the_page_has_the_port_that_is_asked_for_or_the_next_free_one() -> None:
    usual = page_port(None)
    assert usual >= USUAL_PORT
    with socket.create_server((PAGE_HOST, usual)):
        assert page_port(None) > usual
        with pytest.raises(CannotStart, match="--activity-port"):
            page_port(usual)
    assert page_port(usual) == usual


def test_the_link_has_the_token(tmp_path: Path) -> None:
    (tmp_path / PAGE_TOKEN_FILE).write_text("secret\n")
    assert ActivityPlace(tmp_path, 8600).link == "http://127.0.0.1:8600/?token=secret"


def test_a_token_that_cannot_be_read_is_left_out_of_the_link(tmp_path: Path) -> None:
    assert ActivityPlace(tmp_path / "gone", 8600).link == "http://127.0.0.1:8600/"


class Keeping:
    """What `keep` says, and how long it pauses, as often as a test lets it."""

    def __init__(self, pauses: int) -> None:
        self.said: list[str] = []
        self.pauses: list[float] = []
        self._most = pauses

    async def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        if len(self.pauses) == self._most:
            raise TimeoutError

    async def of(self, service: LocalActivity) -> None:
        with pytest.raises(TimeoutError):
            await asyncio.create_task(service.keep(self.said.append, self.sleep))


def a_program(folder: Path, *lines: str) -> str:
    """In the place of the service."""
    program = folder / "program"
    program.write_text("\n".join((f"#!{sys.executable}", *lines, "")))
    program.chmod(0o700)
    return str(program)


async def test_one_that_cannot_be_started_ends_nothing_and_one_line_says_why(tmp_path: Path) -> None:
    service = LocalActivity(tmp_path / "gone", ActivityPlace(tmp_path, 8600))
    await service.begin()
    assert not await service.taking()
    keeping = Keeping(4)
    await keeping.of(service)
    (line,) = keeping.said
    assert "activity cannot be started, and is tried again: [Errno 2]" in line
    assert "requests are served as before" in line
    assert keeping.pauses == sorted(keeping.pauses)


async def test_it_is_waited_for_until_it_takes_records(tmp_path: Path) -> None:
    listens = (
        "import socket, sys, time",
        "place = next(each for each in sys.argv if each.startswith('--listen=unix:'))",
        "server = socket.socket(socket.AF_UNIX)",
        "server.bind(place.partition('unix:')[2])",
        "server.listen()",
        "time.sleep(600)",
    )
    service = LocalActivity(tmp_path, ActivityPlace(tmp_path, 8600), python=a_program(tmp_path, *listens))
    await service.begin()
    assert await service.taking()
    await service.stop()


async def test_one_that_ends_at_once_is_not_waited_for(tmp_path: Path) -> None:
    service = LocalActivity(tmp_path, ActivityPlace(tmp_path, 8600), python=a_program(tmp_path, "print('no')"))
    await service.begin()
    assert not await service.taking()
    await service.stop()


async def test_one_that_ends_is_started_again_and_a_person_is_told(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = a_program(tmp_path, f"open({str(started)!r}, 'a').write('x')", "print('no such thing')")
    service = LocalActivity(tmp_path, ActivityPlace(tmp_path, 8600), python=program)
    await service.start()
    keeping = Keeping(3)
    await keeping.of(service)
    await service.stop()
    assert started.read_text() == "xxx"
    assert keeping.pauses == sorted(keeping.pauses)
    assert keeping.pauses[0] < keeping.pauses[-1]
    assert "no such thing" in keeping.said[0]
    assert "requests are served as before" in keeping.said[0]
