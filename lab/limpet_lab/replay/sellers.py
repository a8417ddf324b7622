"""Simulated providers on the virtual clock: with their vendors' cache rules, their prices, and their troubles."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model
from limpet_lab.replay.bills import PriceBook, usd
from limpet_lab.replay.failures import RecordedTrouble
from limpet_lab.replay.requests import ReplayedRequest
from limpet_lab.replay.trace import BLOCK_TOKENS
from limpet_lab.sim.cache import PrefixCache, Reading
from limpet_lab.sim.rules import CacheRules, rules_for, vendors

FIRST_BYTE_S: Final = 0.4
PROMPT_TOKENS_PER_S: Final = 20_000.0
"""Of what is not read from the cache, before the first byte."""
OUTPUT_TOKENS_PER_S: Final = 60.0
"""The pace is the same at all: what is compared is money."""

_NEVER_TOKENS: Final = 1 << 40
_ALL_BLOCKS: Final = 1 << 60


class ReplayedAnswer(msgspec.Struct, frozen=True, gc=False):
    """An answer."""

    provider: str
    cached_tokens: int
    written_tokens: int
    """Reported where writes have a price of their own."""
    usd: float
    first_byte_s: float
    """After the request."""
    seconds: float
    """From the request to the end of the answer."""


@dataclass(frozen=True, slots=True)
class SellerSpec:
    """What a provider is, before it has seen a request."""

    name: str
    model: Model
    rules: CacheRules
    troubles: tuple[RecordedTrouble, ...] = ()

    def keeps(self, request: ReplayedRequest) -> bool:
        """Whether a prompt of this length goes into its cache."""
        return request.prompt_tokens >= self.rules.min_tokens

    def fails(self, request: ReplayedRequest, begin_s: float) -> int:
        """The status that it answers this request with in the place of an answer; 0: it answers."""
        minute = (request.at_s - begin_s) / 60
        return next((each.answer for each in self.troubles if each.meets(request.number, minute)), 0)


class SimulatedSeller:
    """One of them, with what its cache holds; it has room for all blocks of a trace."""

    def __init__(self, spec: SellerSpec) -> None:
        self.spec = spec
        self.prices = PriceBook(spec.model)
        self._cache = PrefixCache(spec.rules)

    def serve(self, request: ReplayedRequest) -> tuple[ReplayedAnswer, Reading]:
        """Answer a request. `keep` has to follow when its first byte has come."""
        reading = self._cache.read_steps(request.blocks, request.prompt_tokens, request.at_s)
        price = self.prices.at(request.prompt_tokens, request.at_s)
        missed = request.prompt_tokens - reading.cached
        first_byte_s = FIRST_BYTE_S + missed / PROMPT_TOKENS_PER_S
        served = ReplayedAnswer(
            self.spec.name,
            reading.cached,
            missed if self.spec.keeps(request) and price.cache_write != price.input else 0,
            usd(price, request.prompt_tokens, reading.cached, request.output_tokens, written=self.spec.keeps(request)),
            first_byte_s,
            first_byte_s + request.output_tokens / OUTPUT_TOKENS_PER_S,
        )
        return served, reading

    def keep(self, request: ReplayedRequest, reading: Reading, first_byte_s: float) -> None:
        """Its prompt is in the cache, as the answer has begun; `first_byte_s` is Unix time."""
        self._cache.write(reading, request.at_s, first_byte_s)


def sellers_of(
    catalog: Catalog, model: str, vendor_of: Mapping[str, str], troubles: Sequence[RecordedTrouble] = ()
) -> tuple[SellerSpec, ...]:
    """All providers of a catalog that serve this model and have a price for it."""
    return tuple(
        SellerSpec(
            provider.name,
            served,
            _rules(provider, served, vendor_of.get(provider.name, "")),
            tuple(each for each in troubles if each.provider == provider.name),
        )
        for provider in catalog.providers
        for served in provider.models
        if served.name == model and served.price is not None
    )


def _rules(provider: CatalogProvider, model: Model, vendor: str) -> CacheRules:
    """The vendor's, where the simulation knows them, else as the Provider says; in the blocks of a trace."""
    if not provider.caches:
        rules = CacheRules(min_tokens=_NEVER_TOKENS)
    elif vendor in vendors():
        rules = rules_for(vendor).cache
    else:
        rules = CacheRules(min_tokens=model.min_tokens, ttl_seconds=provider.cache_ttl_s)
    return msgspec.structs.replace(rules, block_tokens=BLOCK_TOKENS, interval_tokens=None, max_blocks=_ALL_BLOCKS)
