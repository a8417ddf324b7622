"""The rules that Limpet is compared with. None of them knows the future, all know the prices of the hour.

A provider that failed in the last half minute comes last with each of them, as with OpenRouter's published rule.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from xxhash import xxh3_64_digest

from limpet_extproc.decision.price import DEFAULT_OUTPUT_TOKENS
from limpet_extproc.memory import Memory, Warm
from limpet_lab.peers.rank import OUTAGE_WINDOW_S, Offer, spread
from limpet_lab.peers.rule_sets import RULE_SETS, Situation
from limpet_lab.peers.stickiness import IDLE_S
from limpet_lab.replay.bills import PriceBook, usd
from limpet_lab.replay.play import ReplayedRules, Tried
from limpet_lab.replay.requests import ReplayedRequest
from limpet_lab.replay.sellers import SellerSpec

_PINS_S: Final = 600.0


class _Market:
    """What all of them know: the prices of the hour, and who failed when."""

    def __init__(self, specs: Sequence[SellerSpec]) -> None:
        self.books = {spec.name: PriceBook(spec.model) for spec in specs}
        self.failed_s: dict[str, float] = {}

    def offers(self, request: ReplayedRequest) -> tuple[Offer, ...]:
        return tuple(
            Offer(name, book.at(request.prompt_tokens, request.at_s).input) for name, book in self.books.items()
        )

    def stable_first(self, order: Sequence[str], now_s: float) -> tuple[str, ...]:
        unstable = {name for name, when_s in self.failed_s.items() if now_s - when_s < OUTAGE_WINDOW_S}
        return (*(name for name in order if name not in unstable), *(name for name in order if name in unstable))

    def note(self, tried: Tried, now_s: float) -> None:
        for name, _status in tried.failures:
            self.failed_s[name] = now_s


class AlwaysCheapest:
    """The provider at which this prompt costs least now if nothing of it is cached."""

    def __init__(self, specs: Sequence[SellerSpec]) -> None:
        self._market = _Market(specs)

    async def order(self, request: ReplayedRequest, now_s: float) -> Sequence[str]:
        """See `ReplayedRules`."""
        costs = {
            name: usd(book.at(request.prompt_tokens, now_s), request.prompt_tokens, 0, DEFAULT_OUTPUT_TOKENS)
            for name, book in self._market.books.items()
        }
        return self._market.stable_first(sorted(costs, key=lambda name: (costs[name], name)), now_s)

    async def ended(self, request: ReplayedRequest, tried: Tried, now_s: float) -> None:
        """See `ReplayedRules`."""
        self._market.note(tried, now_s)


class RendezvousOnly:
    """A hash of the conversation chooses, weighted by the inverse square of the prices; nothing is remembered."""

    def __init__(self, specs: Sequence[SellerSpec]) -> None:
        self._market = _Market(specs)

    async def order(self, request: ReplayedRequest, now_s: float) -> Sequence[str]:
        """See `ReplayedRules`."""
        return self._market.stable_first(spread(self._market.offers(request), _seed(request.conversation)), now_s)

    async def ended(self, request: ReplayedRequest, tried: Tried, now_s: float) -> None:
        """See `ReplayedRules`."""
        self._market.note(tried, now_s)


class FingerprintPin:
    """A conversation stays for ten minutes after each answer with the provider that gave it, whatever that costs."""

    def __init__(self, specs: Sequence[SellerSpec]) -> None:
        self._market = _Market(specs)
        self._pins: dict[int, tuple[str, float]] = {}

    async def order(self, request: ReplayedRequest, now_s: float) -> Sequence[str]:
        """See `ReplayedRules`."""
        order = self._market.stable_first(spread(self._market.offers(request), _seed(request.number)), now_s)
        pin, until_s = self._pins.get(request.conversation, ("", 0.0))
        return (pin, *(name for name in order if name != pin)) if until_s > now_s else order

    async def ended(self, request: ReplayedRequest, tried: Tried, now_s: float) -> None:
        """See `ReplayedRules`."""
        self._market.note(tried, now_s)
        if tried.served is not None:
            self._pins[request.conversation] = tried.served.provider, now_s + _PINS_S


class Published:
    """A peer's published rules (`peers.rule_sets`), with the memory that belongs to them."""

    def __init__(self, name: str, specs: Sequence[SellerSpec]) -> None:
        self._rules, new_memory = RULE_SETS[name]  # type: ignore[index]
        self._memory: Memory = new_memory()
        self._market = _Market(specs)

    async def order(self, request: ReplayedRequest, now_s: float) -> Sequence[str]:
        """See `ReplayedRules`."""
        remembered = await self._memory.lookup(_key(request), now_s)
        situation = Situation(
            self._market.offers(request), remembered, self._market.failed_s, now_s, _seed(request.number)
        )
        return self._rules(situation)[0]

    async def ended(self, request: ReplayedRequest, tried: Tried, now_s: float) -> None:
        """See `ReplayedRules`."""
        self._market.note(tried, now_s)
        served = tried.served
        for name, _status in tried.failures:
            self._memory.forget(_key(request), name)
        if served is None:
            return
        price = self._market.books[served.provider].at(request.prompt_tokens, request.at_s)
        if price.cache_read < price.input:
            warm = Warm(served.provider, request.at_s + IDLE_S, request.prompt_tokens, served.cached_tokens)
            self._memory.remember(_key(request), warm, 1, now_s)


NewRules = Callable[[Sequence[SellerSpec]], ReplayedRules]

OTHERS: Final[Mapping[str, NewRules]] = {
    "always_cheapest": AlwaysCheapest,
    "openrouter": lambda specs: Published("openrouter", specs),
    "fingerprint_pin": FingerprintPin,
    "rendezvous_only": RendezvousOnly,
    "no_memory": lambda specs: Published("no_memory", specs),
}


def _seed(number: int) -> bytes:
    return xxh3_64_digest(number.to_bytes(8, "big", signed=True))


def _key(request: ReplayedRequest) -> bytes:
    return request.conversation.to_bytes(8, "big", signed=True)
