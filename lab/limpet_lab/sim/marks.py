"""Where a Messages request has breakpoints, and the rules that it may break doing so."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final

from limpet_lab.sim.refusal import RefusalError
from limpet_lab.sim.rules import LONG_S
from limpet_lab.sim.turn import Mark

MOST: Final = 4
_TTLS_S: Final = {None: 300.0, "5m": 300.0, "1h": LONG_S}
_UNMARKED: Final = ("thinking", "redacted_thinking")
"""Blocks that cannot have a breakpoint."""


def marks_of(top_level: object, blocks: Sequence[tuple[str, Mapping[str, Any]]]) -> tuple[Mark, ...]:
    """The breakpoints in prompt order; the automatic one takes a place of its own. Raises RefusalError."""
    marks = [Mark(number, _ttl_s(block)) for number, (_, block) in enumerate(blocks) if block.get("cache_control")]
    for mark in marks:
        if blocks[mark.segment][1].get("type") in _UNMARKED:
            raise RefusalError(400, "cache_control: Extra inputs are not permitted on a thinking block")
    if top_level is not None and _last(blocks) >= 0:
        automatic = Mark(_last(blocks), _ttl_s({"cache_control": top_level}))
        same = next((mark for mark in marks if mark.segment == automatic.segment), None)
        if same is not None and same.ttl_s != automatic.ttl_s:
            raise RefusalError(400, "cache_control: the last block has a breakpoint with another ttl")
        if same is None:
            marks = sorted([*marks, automatic])
    if len(marks) > MOST:
        raise RefusalError(400, f"A maximum of {MOST} blocks with cache_control may be provided. Found {len(marks)}.")
    if any(early.ttl_s < late.ttl_s for early, late in pairwise(marks)):
        problem = "a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block"
        raise RefusalError(400, problem)
    return tuple(marks)


def _last(blocks: Sequence[tuple[str, Mapping[str, Any]]]) -> int:
    markable = (number for number, (_, block) in enumerate(blocks) if block.get("type") not in _UNMARKED)
    return max(markable, default=-1)


def _ttl_s(block: Mapping[str, Any]) -> float:
    control = block["cache_control"]
    if not isinstance(control, dict) or control.get("type") != "ephemeral" or not set(control) <= {"type", "ttl"}:
        raise RefusalError(400, "cache_control: Input should be {'type': 'ephemeral'} with an optional ttl")
    ttl = control.get("ttl")
    if not isinstance(ttl, str | None) or ttl not in _TTLS_S:
        raise RefusalError(400, "cache_control.ephemeral.ttl: Input should be '5m' or '1h'")
    return _TTLS_S[ttl]
