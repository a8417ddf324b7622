"""A prompt cache that keeps only what a request marks: Anthropic's rules.

An entry is a whole prefix that ends at a breakpoint. A request reads the longest one that ends at one of its own
breakpoints, or at most 19 blocks before it, and writes one at each later breakpoint.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

import xxhash

from limpet_lab.sim.cache import Reading, scope_of
from limpet_lab.sim.prompt import Prompt
from limpet_lab.sim.rules import LONG_S, CacheRules
from limpet_lab.sim.turn import Mark

LOOKBACK: Final = 20
"""Blocks that are looked at for each breakpoint, itself included."""


class _Prefix(NamedTuple):
    expires: float
    readable: float
    ttl_s: float


class BreakpointCache:
    """A bounded store of prefixes, least recently used leave first."""

    def __init__(self, rules: CacheRules) -> None:
        self._rules = rules
        self._entries: OrderedDict[int, _Prefix] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Make everything cold."""
        self._entries.clear()

    def read(
        self, prompt: Prompt, scope: int, now: float, marks: Sequence[Mark] = (), _ttl_s: float | None = None
    ) -> Reading:
        """Look the prompt up at the start of a request, and refresh what was found."""
        lengths = list(accumulate(map(prompt.ruler.tokens, prompt.segments)))
        return self.read_blocks(_hashes(prompt, scope), lengths, now, marks)

    def read_blocks(self, hashes: Sequence[int], lengths: Sequence[int], now: float, marks: Sequence[Mark]) -> Reading:
        """The same for a prompt that is known by a hash and the tokens of everything up to the end of each block."""
        hit = max((self._nearest(hashes, mark.segment, now) for mark in marks), default=-1)
        if hit >= 0:
            found = self._entries[hashes[hit]]
            self._entries[hashes[hit]] = found._replace(expires=now + found.ttl_s)
            self._entries.move_to_end(hashes[hit])
        new = [mark for mark in marks if mark.segment > hit and lengths[mark.segment] >= self._rules.min_tokens]
        cached = lengths[hit] if hit >= 0 else 0
        end = max((lengths[mark.segment] for mark in new), default=cached)
        end_long = max((lengths[mark.segment] for mark in new if mark.ttl_s >= LONG_S), default=cached)
        return Reading(
            cached,
            end - cached,
            tuple(hashes[mark.segment] for mark in new),
            end_long - cached,
            tuple(mark.ttl_s for mark in new),
        )

    def write(self, reading: Reading, started: float, now: float) -> None:
        """Store what a request that began at `started` has marked; it can be read from `now` on, its first byte."""
        for step, ttl_s in zip(reading.hashes, reading.ttls_s, strict=True):
            self._entries[step] = _Prefix(started + ttl_s, now, ttl_s)
            self._entries.move_to_end(step)
        while len(self._entries) > self._rules.max_blocks:
            self._entries.popitem(last=False)

    def extend(self, prompt: Prompt, scope: int, started: float, now: float, _ttl_s: float | None = None) -> None:
        """An answer is not kept."""

    def scope(self, account: str, model: str, body: Mapping[str, object]) -> int:
        """Who shares."""
        return scope_of(self._rules, account, model, body)

    def _nearest(self, hashes: Sequence[int], mark: int, now: float) -> int:
        for segment in range(mark, max(-1, mark - LOOKBACK), -1):
            entry = self._entries.get(hashes[segment])
            if entry is not None and entry.readable <= now < entry.expires:
                return segment
        return -1


def _hashes(prompt: Prompt, scope: int) -> list[int]:
    """One for each segment, of everything up to its end."""
    digest = xxhash.xxh3_64(seed=scope)
    hashes = []
    for segment in prompt.segments:
        digest.update(b"\x00" + segment.encode("utf-8", "surrogatepass"))
        hashes.append(digest.intdigest())
    return hashes
