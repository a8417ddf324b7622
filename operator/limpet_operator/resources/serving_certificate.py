"""A certificate that clients are shown, with what it is good for."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from limpet_operator.resources.secret import SecretText


class CertificateError(Exception):
    """A certificate can't be served; the message says why and what to do, without showing a key."""


@dataclass(frozen=True, slots=True)
class ServingCertificate:
    """A chain, leaf first, and its key, both in PEM."""

    chain_pem: str
    key_pem: SecretText
    names: tuple[str, ...]
    """The DNS names that it holds for; one may begin with `*.`."""
    not_after: datetime

    def holds_for(self, host: str) -> bool:
        """Whether a client that trusts it takes it for this host."""
        return certified(self.names, host)


def certified(names: Sequence[str], host: str) -> bool:
    """Whether one of a certificate's names is this host's; `*` stands for one whole label, the first."""
    name = host.lower()
    parent = name.partition(".")[2]
    return any(each.lower() == name or (bool(parent) and each.lower() == f"*.{parent}") for each in names)
