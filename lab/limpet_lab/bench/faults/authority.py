"""Certificates of the seller that speaks TLS, good ones and expired ones."""

from datetime import UTC, datetime, timedelta
from typing import Final

import trustme

from limpet_lab.sim.config import Certificate

_DAY: Final = timedelta(days=1)


class Authority:
    """A certificate authority for one run."""

    def __init__(self) -> None:
        self._ca = trustme.CA()

    @property
    def pem(self) -> str:
        """What has to be trusted."""
        return self._ca.cert_pem.bytes().decode()

    def issue(self, address: str, *, expired: bool = False) -> Certificate:
        """A certificate for this address, valid for a day or since a day ago no longer."""
        now = datetime.now(UTC)
        begins, ends = (now - 2 * _DAY, now - _DAY) if expired else (now - _DAY, now + _DAY)
        issued = self._ca.issue_cert(address, not_before=begins, not_after=ends)
        chain = "".join(each.bytes().decode() for each in issued.cert_chain_pems)
        return Certificate(chain, issued.private_key_pem.bytes().decode())
