"""The log's lines about objects: once when something is wrong with one or has no effect, once when that is over."""

import logging
from collections.abc import Mapping
from typing import Any

from limpet_operator.planning.finding import ObjectFindings
from limpet_operator.planning.plan import Plan
from limpet_operator.resources.problem import ObjectKey

_log = logging.getLogger(__name__)


class ObjectLog:
    """Remembers the findings of the last plan."""

    def __init__(self) -> None:
        self._findings: Mapping[ObjectKey, ObjectFindings] = {}

    def log(self, plan: Plan) -> None:
        """Log what differs from the last plan."""
        for key, findings in plan.findings.items():
            before = self._findings.get(key)
            if findings is before or findings == before:
                continue
            failed = [each for each in (findings.accepted, findings.resolved_refs) if not each.ok]
            if failed:
                _log.warning("%s: %s", key, failed[0].message, extra=_fields(key, failed[0].reason))
            elif before is not None and not before.ok:
                _log.info("%s is in order now", key, extra=_fields(key, findings.accepted.reason))
            for note in findings.notes if before is None or findings.notes != before.notes else ():
                _log.info("%s: %s", key, note.message, extra=_fields(key, note.reason))
        self._findings = plan.findings


def _fields(key: ObjectKey, reason: str) -> dict[str, Any]:
    return {"kind": key.kind, "namespace": key.namespace, "object": key.name, "reason": reason}
