"""The cheapest way to serve one conversation whose turns each go on from the one before.

What a provider has of such a conversation is what the last turn that it served shares with the present one, while that
turn's lifetime lasts. So a state is, for each provider, the last turn that it served, and a search over these states in
the order of turns finds the optimum. Three things keep it short:

- A state is dropped if its cost, with the least that the remaining turns can cost where whoever has served any turn has
  all of them, exceeds that of a way which is known already.
- Of two states one is dropped if it has cost more than the other by at least what its caches hold beyond the other's:
  the other could go on by the same choices and would make up for that with its first turn at each provider.
- If there are still too many, the least promising ones become one state with the lowest cost and the warmest caches of
  all of them. So the sum that is found stays one that nothing goes below; without this step it is the optimum.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import inf
from typing import Final, NamedTuple

Choice = int
"""A provider by its number; -1: nobody answers this turn."""

_MOST_STATES: Final = (16, 64)
"""Of one turn, in a first search that finds a good way, and in a second one that profits from it."""
_CLOSE: Final = 0.001
"""A first search that comes so near to the optimum is enough."""
_NEVER: Final = -1


class Line(NamedTuple):
    """A conversation."""

    at_s: Sequence[float]
    """When each turn comes."""
    shared: Sequence[Sequence[int]]
    """By turn, for each earlier turn: how many of its blocks that one has in common with it; ascending."""
    choices: Sequence[Sequence[Choice]]
    """By turn: who would answer it."""
    usd: Callable[[int, int, int], float]
    """By turn, provider and the number of blocks that this provider may have cached at most."""
    generous: Sequence[Sequence[float]]
    """By turn and provider: the cost there with all cached that any routing could have brought there."""
    head_blocks: int
    """How many blocks of it others bring everywhere."""
    ttls_s: Sequence[float]
    lengths: Sequence[int]
    """Of each turn's prompt, in blocks."""
    saved: Sequence[Sequence[float]]
    """By turn and provider: what one more cached block saves there at most, in this turn or any later one."""
    least_blocks: Sequence[int]
    """By provider: fewer are not read from its cache."""


_State = tuple[int, ...]
"""By provider: the last turn that it served and still has; -1: none."""


def is_line(shared: Sequence[Sequence[int]]) -> bool:
    """Whether each turn shares most with the one before it, and less the longer ago a turn was."""
    return all(earlier <= later for each in shared for earlier, later in pairwise(each))


def cheapest(line: Line) -> tuple[float, list[Choice]]:
    """A sum that no routing of this conversation goes below, mostly that of the cheapest one, and its choices."""
    after = _least_after(line)
    known_usd, known = min((_along(line, way) for way in _ways(line, after)), key=lambda found: found[0])
    proven = 0.0
    for most in _MOST_STATES:
        proven, way = _search(line, after, known_usd, most)
        found_usd, found = _along(line, way) if way else (inf, way)
        if found_usd < known_usd:
            known_usd, known = found_usd, found
        if proven >= known_usd * (1 - _CLOSE):
            break
    return min(proven, known_usd), known


def _search(line: Line, after: Sequence[Sequence[float]], known_usd: float, most: int) -> tuple[float, list[Choice]]:
    """With so many states a turn: a sum that nothing goes below, and a way if one may be better than the known one."""
    states: dict[_State, float] = {(_NEVER,) * len(line.ttls_s): 0.0}
    came_from: list[dict[_State, tuple[_State, Choice]]] = []
    for turn, at_s in enumerate(line.at_s):
        found: dict[_State, float] = {}
        how: dict[_State, tuple[_State, Choice]] = {}
        for state, so_far in states.items():
            alive = _alive(line, state, at_s)
            for p in line.choices[turn] or (_NEVER,):
                usd, then = so_far + _turn_usd(line, turn, alive, p), _after_turn(alive, turn, p)
                if usd + after[turn + 1][_served(then)] < known_usd and usd < found.get(then, inf):
                    found[then], how[then] = usd, (state, p)
        if not found:
            return known_usd, []
        promise = {state: usd + after[turn + 1][_served(state)] for state, usd in found.items()}
        states, merged = _few(_undominated(line, turn, found), promise, most)
        how |= {new: how[old] for old, new in merged.items()}
        came_from.append(how)
    state = min(states, key=states.__getitem__)
    usd, way = states[state], list[Choice]()
    for how in reversed(came_from):
        state, p = how[state]
        way.append(p)
    return usd, way[::-1]


def _turn_usd(line: Line, turn: int, state: _State, p: Choice) -> float:
    if p < 0:
        return 0.0
    served = state[p]
    return line.usd(turn, p, line.head_blocks if served < 0 else max(line.head_blocks, line.shared[turn][served]))


def _after_turn(state: _State, turn: int, p: Choice) -> _State:
    return state if p < 0 else (*state[:p], turn, *state[p + 1 :])


def _alive(line: Line, state: _State, at_s: float) -> _State:
    return tuple(
        served if served >= 0 and at_s - line.at_s[served] < ttl_s else _NEVER
        for served, ttl_s in zip(state, line.ttls_s, strict=True)
    )


def _served(state: _State) -> int:
    """Those that have any of it, as a set of bits."""
    return sum(1 << p for p, served in enumerate(state) if served >= 0)


def _undominated(line: Line, turn: int, states: dict[_State, float]) -> dict[_State, float]:
    kept: dict[_State, float] = {}
    for state, usd in sorted(states.items(), key=lambda item: (item[1], [-served for served in item[0]])):
        if not any(usd >= other_usd + _ahead_usd(line, turn, state, other) for other, other_usd in kept.items()):
            kept[state] = usd
    return kept


def _ahead_usd(line: Line, turn: int, state: _State, other: _State) -> float:
    """What the caches of a state can save at most beyond those of the other one.

    All that a later turn shares with the older of two turns and does not share with the newer one lies within what
    these two have in common.
    """
    saved = 0.0
    for p, (mine, others) in enumerate(zip(state, other, strict=True)):
        if mine > others:
            stays = others >= 0 and line.at_s[-1] - line.at_s[others] < line.ttls_s[p]
            common = max(line.head_blocks, line.shared[mine][others]) if stays else line.head_blocks
            has = common if common >= line.least_blocks[p] else 0
            saved += line.saved[turn][p] * (line.lengths[mine] - has)
    return saved


def _few(
    states: dict[_State, float], promise: Mapping[_State, float], most: int
) -> tuple[dict[_State, float], dict[_State, _State]]:
    """No more states than allowed, and which was made into which other one."""
    if len(states) <= most:
        return states, {}
    ranked = sorted(states, key=promise.__getitem__)
    few = {state: states[state] for state in ranked[: most - 1]}
    rest = ranked[most - 1 :]
    cheapest_of_rest = min(rest, key=states.__getitem__)
    warmest = tuple(map(max, zip(*rest, strict=True)))
    if few.get(warmest, inf) <= states[cheapest_of_rest]:
        return few, {}
    few[warmest] = states[cheapest_of_rest]
    return few, {cheapest_of_rest: warmest}


def _least_after(line: Line) -> list[list[float]]:
    """By turn and set of providers: the least that it and all after it cost, if those of the set have all of it."""
    sets = range(1 << len(line.ttls_s))
    least = [[0.0 for _ in sets]]
    for turn in reversed(range(len(line.at_s))):
        before_s = line.at_s[turn - 1] if turn else -inf
        alive = sum(1 << p for p, ttl_s in enumerate(line.ttls_s) if line.at_s[turn] - before_s < ttl_s)
        cold = {p: line.usd(turn, p, line.head_blocks) for p in line.choices[turn]}
        now = [
            min(
                (
                    (line.generous[turn][p] if served & alive & 1 << p else cold[p])
                    + least[-1][served & alive | 1 << p]
                    for p in line.choices[turn]
                ),
                default=least[-1][served & alive],
            )
            for served in sets
        ]
        least.append(now)
    return least[::-1]


def _ways(line: Line, after: Sequence[Sequence[float]]) -> list[list[Choice]]:
    """Ways that may be good: all at one provider where it answers, and the one that looks best from turn to turn."""
    ways = [
        [p if p in choices else min(choices, default=_NEVER) for choices in line.choices]
        for p in range(len(line.ttls_s))
    ]
    state: _State = (_NEVER,) * len(line.ttls_s)
    way: list[Choice] = []
    for turn, at_s in enumerate(line.at_s):
        alive = _alive(line, state, at_s)
        totals = {
            p: _turn_usd(line, turn, alive, p) + after[turn + 1][_served(_after_turn(alive, turn, p))]
            for p in line.choices[turn]
        }
        way.append(min(totals, key=totals.__getitem__) if totals else _NEVER)
        state = _after_turn(alive, turn, way[-1])
    return [*ways, way]


def _along(line: Line, way: list[Choice]) -> tuple[float, list[Choice]]:
    state: _State = (_NEVER,) * len(line.ttls_s)
    total = 0.0
    for turn, (at_s, p) in enumerate(zip(line.at_s, way, strict=True)):
        state = _alive(line, state, at_s)
        total += _turn_usd(line, turn, state, p)
        state = _after_turn(state, turn, p)
    return total, way
