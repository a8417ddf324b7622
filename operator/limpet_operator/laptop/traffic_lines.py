"""What requests show about the providers, as lines for a terminal. Pure.

Failover hides a provider that refuses its key: clients get their answers from the next one. So there is one line when
that begins, in the words of the condition and Event in a cluster, and one when it is over.
"""

from collections.abc import Iterator, Mapping

from limpet_operator.fleet.view import Traffic
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import ObjectFindings
from limpet_operator.status.findings import healthy

_SERVED = ObjectFindings()


def traffic_lines(before: Mapping[str, Traffic], now: Mapping[str, Traffic]) -> Iterator[str]:
    """A line for every provider whose state differs from before."""
    for name, traffic in sorted(now.items()):
        previous, found = _trouble(before.get(name)), _trouble(traffic)
        if found is None:
            if previous is not None:
                yield f"{name} is back: {healthy(_SERVED, traffic).message}"
        elif previous is None or previous.reason != found.reason:
            out = " (out)" if traffic.state == "down" else ""
            yield f"{name}: {found.reason}{out}: {found.message}"
        elif before[name].state != traffic.state:
            yield f"{name} is {'out' if traffic.state == 'down' else 'asked again'}: {found.message}"


def _trouble(traffic: Traffic | None) -> Finding | None:
    """None: no trouble is known."""
    if traffic is None:
        return None
    found = healthy(_SERVED, traffic)
    return found if found.status == "False" else None
