"""What stands in the way of a local gateway is said before anything starts."""

import socket
from pathlib import Path

import pytest

from limpet_operator.local import (
    CannotStart,
    Local,
    LocalSettings,
    envoy_binary,
    free_port,
    require_free,
    system_ca_file,
)


def test_a_free_port_can_be_listened_on() -> None:
    require_free("127.0.0.1", free_port())


def test_a_port_that_is_taken_is_named_with_what_to_do() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"cannot listen on 127\.0\.0\.1:{port}: .*--listen HOST:PORT"):
            require_free("127.0.0.1", port)


def test_an_address_that_is_not_ours_is_named() -> None:
    with pytest.raises(CannotStart, match=r"cannot listen on 192\.0\.2\.1:1"):
        require_free("192.0.2.1", 1)


async def test_nothing_is_started_and_nothing_left_where_the_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        gateway = Local(LocalSettings(port=taken.getsockname()[1]))
        with pytest.raises(CannotStart):
            await gateway.__aenter__()
        assert not gateway.children.log_dir.exists()


def test_envoy_is_found() -> None:
    assert envoy_binary().stat().st_mode & 0o100


def test_certificate_authorities_are_looked_for_in_their_usual_places(tmp_path: Path) -> None:
    first, second = tmp_path / "first.crt", tmp_path / "second.crt"
    second.touch()
    assert system_ca_file((str(first), str(second))) == str(second)
    first.touch()
    assert system_ca_file((str(first), str(second))) == str(first)


def test_a_machine_without_certificate_authorities_can_still_serve_what_needs_none(tmp_path: Path) -> None:
    assert system_ca_file((str(tmp_path / "gone.crt"),))
