"""What stands in the way of a local gateway is reported before anything starts."""

import socket
from pathlib import Path

import pytest

from limpet_operator.laptop.listen import CannotStart
from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import envoy_binary, system_ca_file


def test_nothing_is_started_where_the_port_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(CannotStart):
            LocalGateway(LocalSettings(port=taken.getsockname()[1]))


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
