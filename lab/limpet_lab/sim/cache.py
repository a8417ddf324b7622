"""One seller's prompt cache: which prefixes are warm, for whom and until when.

A prefix is known by the chained hash of the steps it is made of, so a read walks the prompt's steps and stops at the
first cold one. Times are seconds of the injected clock; lifetimes count from a request's start, never from its end.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import xxhash

from limpet_lab.sim.prompt import Prompt, chain
from limpet_lab.sim.rules import LONG_S, CacheRules
from limpet_lab.sim.turn import Mark


class _Entry(NamedTuple):
    expires: float
    readable: float
    ttl_s: float


class Reading(msgspec.Struct, frozen=True):
    """What a request found, and what it may store."""

    cached: int
    """Prompt tokens read from the cache."""
    written: int
    """Prompt tokens that this request adds to it."""
    hashes: tuple[int, ...]
    """The prompt's steps, so that storing needs no second walk."""
    written_long: int = 0
    """The part of `written` that stays for an hour or longer."""
    ttls_s: tuple[float, ...] = ()
    """How long each of `hashes` stays, where the request says so of some."""
    ttl_s: float | None = None
    """How long all stay, where the request says so of the whole prompt."""


class PrefixCache:
    """A bounded store of prefix ends, least recently used leave first."""

    def __init__(self, rules: CacheRules) -> None:
        self._rules = rules
        self._entries: OrderedDict[int, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def clear(self) -> None:
        """Make everything cold."""
        self._entries.clear()

    def read(
        self, prompt: Prompt, scope: int, now: float, _marks: Sequence[Mark] = (), ttl_s: float | None = None
    ) -> Reading:
        """Look the prompt up at the start of a request and, if the rules want it, refresh what was found.

        `ttl_s`: how long the request asks for it to stay; what is there already keeps its own lifetime.
        """
        if prompt.tokens < self._rules.min_tokens:
            return Reading(0, 0, ())
        return self.read_steps(tuple(chain(prompt, self._rules.step_tokens, scope)), prompt.tokens, now, ttl_s)

    def read_steps(self, hashes: tuple[int, ...], tokens: int, now: float, ttl_s: float | None = None) -> Reading:
        """The same for a prompt that is known by the hashes of its whole steps."""
        rules = self._rules
        if tokens < rules.min_tokens:
            return Reading(0, 0, ())
        warm = 0
        for step in hashes:
            entry = self._entries.get(step)
            if entry is None or entry.expires <= now or entry.readable > now:
                break
            if rules.refresh_on_hit:
                self._entries[step] = entry._replace(expires=now + entry.ttl_s)
            self._entries.move_to_end(step)
            warm += 1
        # The last token is always computed: its output is what the answer starts from.
        cached = min(warm, (tokens - 1) // rules.step_tokens) * rules.step_tokens
        written = (len(hashes) - warm) * rules.step_tokens
        long = written if ttl_s is not None and ttl_s >= LONG_S else 0
        return Reading(cached if cached >= rules.min_tokens else 0, written, hashes, long, ttl_s=ttl_s)

    def write(self, reading: Reading, started: float, now: float) -> None:
        """Store what a request that began at `started` has computed; `now` is its first byte."""
        base = started if self._rules.readable_after == "RequestStart" else now
        ttl_s = self._rules.ttl_seconds if reading.ttl_s is None else reading.ttl_s
        ttl_s = float("inf") if ttl_s is None else ttl_s
        fresh = _Entry(started + ttl_s, base + self._rules.readable_delay_seconds, ttl_s)
        for step in reading.hashes:
            entry = self._entries.get(step)
            if entry is None or entry.expires <= now:
                self._entries[step] = fresh
            elif self._rules.refresh_on_hit and entry.expires < started + entry.ttl_s:
                self._entries[step] = entry._replace(expires=started + entry.ttl_s)
            self._entries.move_to_end(step)
        while len(self._entries) > self._rules.max_blocks:
            self._entries.popitem(last=False)

    def extend(self, prompt: Prompt, scope: int, started: float, now: float, ttl_s: float | None = None) -> None:
        """Store a prompt together with its answer, for vendors that keep both."""
        if prompt.tokens >= self._rules.min_tokens:
            hashes = tuple(chain(prompt, self._rules.step_tokens, scope))
            self.write(Reading(0, 0, hashes, ttl_s=ttl_s), started, now)

    def scope(self, account: str, model: str, body: Mapping[str, object]) -> int:
        """Who shares."""
        return scope_of(self._rules, account, model, body)


def scope_of(rules: CacheRules, account: str, model: str, body: Mapping[str, object]) -> int:
    """Who shares: the account, the model and the fields by which the vendor partitions."""
    parts = [account if rules.per_account else "", model]
    for path in rules.partition_by:
        value: object = body
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        parts.append("" if value is None else str(value))
    return xxhash.xxh3_64_intdigest("\x00".join(parts).encode("utf-8", "surrogatepass"))
