"""How often each provider's timeouts ended an attempt lately: what is set too short shows here first."""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

KEPT_S: Final = 600.0
_MOST: Final = 1_000
"""Of one provider; more are as telling."""


class TimeoutCount:
    """Those that one worker has seen in the last ten minutes."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._at_s: dict[str, deque[float]] = {}

    def add(self, provider: str) -> None:
        """One more attempt at this provider has been given up."""
        at_s = self._at_s.get(provider)
        if at_s is None:
            at_s = self._at_s[provider] = deque(maxlen=_MOST)
        at_s.append(self._clock())

    def recent(self) -> Mapping[str, int]:
        """How many there were, by provider; none where there were none."""
        oldest_s = self._clock() - KEPT_S
        for provider, at_s in list(self._at_s.items()):
            while at_s and at_s[0] <= oldest_s:
                at_s.popleft()
            if not at_s:
                del self._at_s[provider]
        return {provider: len(at_s) for provider, at_s in self._at_s.items()}
