"""Names of providers as they stand in Redis: eight characters, as names may be 300 long and there are many values."""

from base64 import urlsafe_b64encode
from collections.abc import Callable, Collection
from typing import Final

from xxhash import xxh3_64_digest

_MAX_NAMES: Final = 100_000
"""Of providers that existed at some time; a bound for processes that run for years."""


class ShortNames:
    """Short names of providers and back. `providers` returns those in force, the same object while unchanged."""

    def __init__(self, providers: Callable[[], Collection[str]]) -> None:
        self._providers = providers
        self._indexed: Collection[str] | None = None
        self._short: dict[str, str] = {}
        self._long: dict[str, str] = {}

    def short(self, name: str) -> str:
        """Eight characters, the same in every process."""
        short = self._short.get(name)
        if short is None:
            if len(self._short) >= _MAX_NAMES:
                self._short.clear()
                self._long.clear()
                self._indexed = None
            short = self._short[name] = urlsafe_b64encode(xxh3_64_digest(name.encode())[:6]).decode()
            self._long[short] = name
        return short

    def long(self, short: str) -> str:
        """The provider's name; for one that this process has never seen, a text that is no provider's name."""
        name = self._long.get(short)
        if name is None and (providers := self._providers()) is not self._indexed:
            self._indexed = providers
            for each in providers:
                self.short(each)
            name = self._long.get(short)
        return name or f"?{short}"
