"""What requests say of the providers, as lines for whoever looks at a terminal. Pure.

A provider that refuses its key is hidden by failover: clients get their answers from the next one. So it is said once
when it begins, in the words that a condition and an Event have in a cluster, and once when it is over.
"""

from collections.abc import Iterator, Mapping

from limpet_operator.fleet.view import Traffic
from limpet_operator.planning.finding import Finding
from limpet_operator.planning.plan import ObjectFindings
from limpet_operator.status.findings import healthy

_SERVED = ObjectFindings()


def said(before: Mapping[str, Traffic], now: Mapping[str, Traffic]) -> Iterator[str]:
    """A line for every provider of which something else is to be said than before; nothing for one that is as well."""
    for name, traffic in sorted(now.items()):
        was, found = _finding(before.get(name)), _finding(traffic)
        if found is None:
            if was is not None:
                yield f"{name} is back: {healthy(_SERVED, traffic).message}"
        elif was is None or was.reason != found.reason:
            out = " (out)" if traffic.verdict == "down" else ""
            yield f"{name}: {found.reason}{out}: {found.message}"
        elif before[name].verdict != traffic.verdict:
            yield f"{name} is {'out' if traffic.verdict == 'down' else 'asked again'}: {found.message}"


def _finding(traffic: Traffic | None) -> Finding | None:
    """None: nothing is wrong, as far as is known."""
    if traffic is None:
        return None
    found = healthy(_SERVED, traffic)
    return found if found.status == "False" else None
