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


async def test_one_that_ends_is_started_again_and_a_person_is_told(tmp_path: Path) -> None:
    started = tmp_path / "started"
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\nopen({str(started)!r}, 'a').write('x')\nprint('no such thing')\n")
    program.chmod(0o700)
    said: list[str] = []
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise TimeoutError

    service = LocalActivity(tmp_path, ActivityPlace(tmp_path, 8600), python=str(program))
    await service.start()
    with pytest.raises(TimeoutError):
        await asyncio.create_task(service.keep(said.append, sleep))
    await service.stop()
    assert started.read_text() == "xxx"
    assert pauses == sorted(pauses)
    assert pauses[0] < pauses[-1]
    assert "no such thing" in said[0]
    assert "requests are served as before" in said[0]
