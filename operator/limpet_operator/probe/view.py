"""What the probes of this replica have found so far, for those who report it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from limpet_extproc.contract.attempt import Cause
from limpet_extproc.contract.health_stream import Probed, Verdict
from limpet_operator.resources.problem import ObjectKey


class ProbeResult(NamedTuple):
    """One provider as one HealthProbe finds it."""

    provider: str
    verdict: Verdict | None = None
    """By the probe's thresholds; None: there have not been enough answers for one."""
    cause: Cause = ""
    since_s: float = 0.0
    """Of the verdict, in Unix seconds."""
    model: str = ""
    """The model that it is about, as clients name it; empty: the provider with all its models."""
    last_s: float = 0.0
    """When the last probe ended, in Unix seconds; 0: none has."""
    last_cause: Cause = ""
    """Why the last probe did not succeed; empty if it did."""
    status: int = 0
    """HTTP status of the last answer; 0: none."""
    message: str = ""
    """The provider's own, or Envoy's if there was no answer, of the last probe that did not succeed."""
    rejected: str = ""
    """What the last probe asked for, such as `GET /v1/models`, if its answer blames the probe and not the provider;
    else empty."""
    not_sent: str = ""
    """Why the last probe could not be sent, which says nothing about the provider; empty if it was."""


class ProbeView(Protocol):
    """What is known; both are empty on a replica that does not probe."""

    def results(self) -> Mapping[ObjectKey, Sequence[ProbeResult]]:
        """HealthProbe -> one result for each provider that it probes, by name."""

    def probed(self) -> Mapping[str, Sequence[Probed]]:
        """Provider name -> the verdicts of all its probes together: of the provider as a whole, and of models there."""
