"""What the providers' prompt caches do: tokens read from them of late, and about how many conversations are warm there.

For people who look at the status of a Provider; nothing is decided by it. The outcomes of one conversation may reach
any worker, so a worker tells no count but a sketch: two of them can be joined without counting a conversation twice.
(A HyperLogLog, by Flajolet and others, 2007, whose ranks end when the conversations grow cold that they stand for.)
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from limpet_extproc.contract.catalog import SKETCH_REGISTERS, CacheUse

MINUTES: Final = 10
"""How long a token counts."""


class _Use:
    """What one provider's cache did."""

    __slots__ = ("cached", "minutes", "prompt", "until_s")

    def __init__(self) -> None:
        self.prompt = self.cached = 0
        self.minutes: deque[tuple[int, int]] = deque(maxlen=MINUTES - 1)
        self.until_s: dict[int, float] = {}
        """Register and rank of the sketch -> when the last conversation that gave it grows cold."""

    def told(self, now_s: float) -> CacheUse:
        for place in [place for place, until_s in self.until_s.items() if until_s <= now_s]:
            del self.until_s[place]
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
    """Those of all providers, as one worker sees them."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock`: the wall clock."""
        self._clock = clock
        self._uses: dict[str, _Use] = {}
        self._told: dict[str, CacheUse] = {}
        self._minute = clock() // 60

    def read(self, provider: str, prompt_tokens: int, cached_tokens: int) -> None:
        """An answer came; so many tokens of its prompt were read from the cache."""
        use = self._use(provider)
        use.prompt += prompt_tokens
        use.cached += cached_tokens

    def warm(self, provider: str, key: bytes, until_s: float) -> None:
        """A conversation is in the cache until then. `key`: its name in the memory, which is random to the last bit."""
        place = key[0] << 6 | 33 - int.from_bytes(key[1:5], "big").bit_length()
        until = self._use(provider).until_s
        if until_s > until.get(place, 0.0):
            until[place] = until_s

    def told(self) -> Mapping[str, CacheUse]:
        """What is to be told now; of a provider that is new, at once.

        Else it changes when a minute of the wall clock begins, for all workers at once, as what they tell makes one
        write of a status then.
        """
        now_s = self._clock()
        minute = now_s // 60
        turned, self._minute = minute != self._minute, minute
        for name, use in self._uses.items():
            if turned or name not in self._told:
                self._told[name] = use.told(now_s)
            if turned:
                use.turn()
        return self._told

    def _use(self, provider: str) -> _Use:
        use = self._uses.get(provider)
        if use is None:
            use = self._uses[provider] = _Use()
        return use
