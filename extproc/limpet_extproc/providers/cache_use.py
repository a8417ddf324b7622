"""The use of the providers' prompt caches: tokens recently read from them, and about how many conversations are warm.

For the status of a Provider; nothing is decided by it. The outcomes of one conversation may reach any worker, so a
worker reports a sketch instead of a count: two sketches can be joined without counting a conversation twice.
(A HyperLogLog, by Flajolet and others, 2007, whose ranks expire when the conversations behind them go cold.)
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from limpet_extproc.contract.catalog import SKETCH_REGISTERS, CacheUse

MINUTES: Final = 10
"""How long a token counts, in whole minutes."""


class _Use:
    """The use of one provider's cache."""

    __slots__ = ("cached", "minutes", "prompt", "until_s")

    def __init__(self) -> None:
        self.prompt = self.cached = 0
        self.minutes: deque[tuple[int, int]] = deque(maxlen=MINUTES - 1)
        self.until_s: dict[int, float] = {}
        """By register and rank of the sketch: when the last conversation behind it goes cold."""

    def expire(self, now_s: float) -> None:
        for place in [place for place, until_s in self.until_s.items() if until_s <= now_s]:
            del self.until_s[place]

    def report(self) -> CacheUse:
        ranks = bytearray(SKETCH_REGISTERS)
        for place in self.until_s:
            register, rank = place >> 6, place & 63
            ranks[register] = max(ranks[register], rank)
        return CacheUse(
            self.prompt + sum(prompt for prompt, _ in self.minutes),
            self.cached + sum(cached for _, cached in self.minutes),
            bytes(ranks) if self.until_s else b"",
        )

    def turn(self) -> None:
        self.minutes.append((self.prompt, self.cached))
        self.prompt = self.cached = 0


class CacheUses:
    """The use of all providers' caches, as one worker sees it."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: the wall clock."""
        self._clock = clock
        self._uses: dict[str, _Use] = {}
        self._reports: dict[str, CacheUse] = {}
        self._minute = clock() // 60

    def read(self, provider: str, prompt_tokens: int, cached_tokens: int) -> None:
        """Count the tokens of an answer's prompt, and those of them that were read from the cache."""
        use = self._use(provider)
        use.prompt += prompt_tokens
        use.cached += cached_tokens

    def warm(self, provider: str, key: bytes, until_s: float) -> None:
        """Count a conversation that is in the cache until then, by its key in the memory, a random number."""
        place = key[0] << 6 | 33 - int.from_bytes(key[1:5], "big").bit_length()
        until = self._use(provider).until_s
        if until_s > until.get(place, 0.0):
            until[place] = until_s

    def refresh(self) -> Mapping[str, CacheUse]:
        """Bring the reports up to date, and return them.

        A provider's first report is made at once. Later ones change when a minute of the wall clock begins, for all
        workers at the same time, so that together they cause one write of a status.
        """
        now_s = self._clock()
        minute = now_s // 60
        turned, self._minute = minute != self._minute, minute
        for name, use in self._uses.items():
            if turned or name not in self._reports:
                use.expire(now_s)
                self._reports[name] = use.report()
            if turned:
                use.turn()
        return self._reports

    def _use(self, provider: str) -> _Use:
        use = self._uses.get(provider)
        if use is None:
            use = self._uses[provider] = _Use()
        return use
