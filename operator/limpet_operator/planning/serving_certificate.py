"""The certificate that the gateway shows to clients of `https://`: which one is served, and what is wrong. Pure.

A Secret that cannot be used disturbs nothing: what was read before stays, and without anything the port stays closed.
"""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from limpet_operator.planning.finding import ObjectFindings, accepted, not_accepted
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.resources.secret import SecretObject
from limpet_operator.resources.serving_certificate import CertificateError, ServingCertificate

_CHAIN, _KEY = "tls.crt", "tls.key"


class ReadCertificate(Protocol):
    """Reads a chain and its key, both in PEM. Raises CertificateError."""

    def __call__(self, chain: bytes, key: bytes, /) -> ServingCertificate:
        """The certificate as a server would use it."""


@dataclass(frozen=True, slots=True)
class ServedCertificate:
    """What of a Secret is served."""

    secret: ObjectKey
    certificate: ServingCertificate | None = None
    """None: there was none yet that could be used."""
    problem: str | None = None
    """Why the Secret as it is now is not what is served; None: it is."""
    read_from: SecretObject | None = None
    """The Secret of which the certificate was read."""

    def told(self, now: datetime) -> str | None:
        """One sentence on what a person has to do; None: nothing."""
        if self.problem is None:
            if self.certificate is None or self.certificate.not_after > now:
                return None
            return f"{self.secret}: its certificate has expired; put one into it that is valid"
        if self.certificate is None:
            return f"{self.secret}: {self.problem}; until then the gateway's port for https:// is closed"
        return f"{self.secret}: {self.problem}; the certificate that was read before stays in force"


def served_certificate(
    before: ServedCertificate, found: SecretObject | Invalid | None, read: ReadCertificate
) -> ServedCertificate:
    """What is served when the Secret is found like this; None: there is none."""
    if found is None:
        return replace(before, problem="it is missing; create it with `kubectl create secret tls`")
    if isinstance(found, Invalid):
        return replace(before, problem=found.message)
    if found == before.read_from and before.problem is None:
        return before
    lacking = [name for name in (_CHAIN, _KEY) if not found.values.get(name)]
    if lacking:
        return replace(
            before, problem=f"it has no {' and no '.join(lacking)}; create it with `kubectl create secret tls`"
        )
    try:
        certificate = read(found.values[_CHAIN], found.values[_KEY])
    except CertificateError as error:
        return replace(before, problem=str(error))
    return ServedCertificate(before.secret, certificate, read_from=found)


def with_certificate(plan: Plan, served: ServedCertificate, *, exists: bool) -> Plan:
    """The plan with what is served, and with a finding about the Secret, if it exists, for the log and its Events."""
    if not exists:
        return replace(plan, certificate=served.certificate)
    if served.problem is None:
        names = served.certificate.names if served.certificate is not None else ()
        finding = accepted(f"for {', '.join(names)}")
    else:
        finding = not_accepted("Invalid", served.problem)
    findings = {**plan.findings, served.secret: ObjectFindings(finding)}
    return replace(plan, certificate=served.certificate, findings=findings)
