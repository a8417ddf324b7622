"""Findings and the current status -> the desired status, and the patch between them. Pure.

A condition's transition time moves only when its status does, conditions of other writers stay as they are, and equal
findings give an equal status: an idle cluster causes no writes.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from limpet_operator.planning.finding import Finding
from limpet_operator.status.findings import LESS_KNOWN
from limpet_operator.status.health import ProviderHealth
from limpet_operator.status.price_window import WindowInForce

RawStatus = Mapping[str, Any]

_LONGEST_MESSAGE: Final = 2000
"""Envoy's words can be long; the schema has room for 32768 characters, but a terminal does not."""
_PASSING: Final = frozenset({"Drained", "Meshed"})
"""Types of our own conditions that an object has only at times."""
_HISTORY: Final = frozenset({"lastTransitionTime", "since"})


def timestamp(moment: datetime) -> str:
    """As Kubernetes writes it: UTC, whole seconds."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def desired_status(current: RawStatus, findings: Iterable[Finding], generation: int, now: datetime) -> dict[str, Any]:
    """The fields that every kind has, as they should be."""
    before = {each["type"]: each for each in current.get("conditions") or ()}
    found = {finding.type: _condition(before.get(finding.type), finding, generation, now) for finding in findings}
    kept = {name: each for name, each in before.items() if name in found or name not in _PASSING}
    return {"observedGeneration": generation, "conditions": list((kept | found).values())}


def desired_health(current: RawStatus, health: ProviderHealth, now: datetime) -> dict[str, Any]:
    """The field `health` of a Provider, as it should be."""
    before = current.get("health") or {}
    models = {each["name"]: each for each in before.get("models") or ()}
    wanted = _since(before, {"verdict": health.verdict, "reason": health.finding.reason}, now)
    listed = [
        {"name": each.name, **_since(models.get(each.name, {}), {"verdict": each.verdict, "reason": each.reason}, now)}
        for each in health.models
    ]
    return {**wanted, "models": listed or None}


def desired_window(window: WindowInForce | None) -> dict[str, Any] | None:
    """The field `window` of a Pricing, as it should be."""
    if window is None:
        return None
    return {"name": window.names or None, "until": timestamp(datetime.fromtimestamp(window.until_s, UTC))}


def _since(before: RawStatus, wanted: dict[str, Any], now: datetime) -> dict[str, Any]:
    """`wanted` with the time from which on it has this verdict."""
    since = before.get("since") if before.get("verdict") == wanted["verdict"] else None
    return {**wanted, "since": since or timestamp(now)}


def difference(current: RawStatus, wanted: RawStatus) -> dict[str, Any]:
    """The merge patch from one to the other, empty if there is nothing to write; None removes a field."""
    return {name: value for name, value in wanted.items() if _merged(current.get(name), value) != current.get(name)}


def without_history(wanted: RawStatus) -> Any:
    """The same without times of transitions, for comparing it with what was sent before."""
    return _without_history(wanted)


def steady(current: RawStatus, finding: Finding, generation: int) -> bool:
    """Whether this finding merely knows less than `current` does about the same spec.

    A replica that has just taken over, or an Envoy that has just connected, does not have all information yet. To
    write that at once would write every object twice, so the writer holds such a finding back for a while.
    """
    if finding.reason not in LESS_KNOWN:
        return False
    before = _named(current, finding.type)
    informative = ("True",) if finding.type == "Programmed" else ("True", "False")
    return before is not None and before["status"] in informative and before.get("observedGeneration") == generation


def as_before(current: RawStatus, finding: Finding) -> Finding:
    """The finding of the current condition of this type."""
    before = _named(current, finding.type) or {}
    return Finding(finding.type, before["status"], before["reason"], before["message"])


def transitions(before: RawStatus, after: RawStatus) -> list[tuple[Finding, bool]]:
    """Changes that concern a person, each with whether it is bad.

    Bad: a condition turned False, or is False for another reason. Good: it was False and is True again. A first True,
    Programmed while it waits for an Envoy, and Drained while conversations are left, are normal.
    """
    changes = []
    for condition in after.get("conditions") or ():
        old = _named(before, condition["type"]) or {}
        was, reason = old.get("status"), condition["reason"]
        finding = Finding(condition["type"], condition["status"], reason, condition["message"])
        if finding.type == "Programmed":
            if reason == "Rejected" and (old.get("reason"), old.get("message")) != (reason, finding.message):
                changes.append((finding, True))
            elif finding.status == "True" and old.get("reason") == "Rejected":
                changes.append((finding, False))
        elif finding.status == "False" and (was != "False" or old["reason"] != reason):
            if finding.type != "Drained":
                changes.append((finding, True))
        elif finding.status == "True" and was == "False":
            changes.append((finding, False))
    return changes


def _condition(before: RawStatus | None, finding: Finding, generation: int, now: datetime) -> dict[str, Any]:
    same = before is not None and before["status"] == finding.status
    return {
        "type": finding.type,
        "status": finding.status,
        "observedGeneration": generation,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and same else timestamp(now),
        "reason": finding.reason,
        "message": _shortened(finding.message),
    }


def _merged(before: Any, value: Any) -> Any:
    """A field after a merge patch: fields of an object that the patch does not name stay, those it sets to None go."""
    if not isinstance(value, Mapping):
        return value
    fields = {**before, **value} if isinstance(before, Mapping) else value
    return {name: below for name, below in fields.items() if below is not None}


def _named(status: RawStatus, name: str) -> RawStatus | None:
    return next((each for each in status.get("conditions") or () if each["type"] == name), None)


def _shortened(message: str) -> str:
    return message if len(message) <= _LONGEST_MESSAGE else message[: _LONGEST_MESSAGE - 1] + "…"


def _without_history(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _without_history(below) for name, below in value.items() if name not in _HISTORY}
    return [_without_history(item) for item in value] if isinstance(value, list) else value
