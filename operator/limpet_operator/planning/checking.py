"""Findings about objects, kept from plan to plan where nothing has changed that they depend on."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from limpet_operator.planning.finding import ObjectFindings
from limpet_operator.resources.problem import ObjectKey


class Checked(NamedTuple):
    """What another object was checked by, and what was found.

    Unchanged inputs are mostly the same objects, and tuples compare by identity first: that is cheaper than to check.
    """

    inputs: tuple[object, ...]
    findings: ObjectFindings


class Checking:
    """Findings about objects, which are those of the plan before where an object's inputs are equal."""

    def __init__(self, before: Mapping[ObjectKey, Checked], findings: dict[ObjectKey, ObjectFindings]) -> None:
        """`findings` gets them."""
        self._before = before
        self._findings = findings
        self.checked: dict[ObjectKey, Checked] = {}

    def of(self, key: ObjectKey, inputs: tuple[object, ...], check: Callable[[], ObjectFindings]) -> ObjectFindings:
        """What is found about the object: `check` decides by these inputs alone."""
        checked = self._before.get(key)
        if checked is None or checked.inputs != inputs:
            checked = Checked(inputs, check())
        self.checked[key] = checked
        self._findings[key] = checked.findings
        return checked.findings
