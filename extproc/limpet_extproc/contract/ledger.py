"""The rows of the ledger: what answered requests cost, and what the same requests would have cost otherwise, by hour.

Written by workers into a file or into Redis, read by `limpet report`. The dollars are `decision.bills`'.
"""

from collections.abc import Iterable, Mapping
from typing import Final, Literal, TypeAlias, get_args

import msgspec

HOUR_S: Final = 3600
ALL_HOURS: Final = (0, 1 << 40)
"""The first, and the one after the last."""

RowKind: TypeAlias = Literal["traffic", "probe"]
"""Whose requests: clients', or our own probes'."""


class RowKey(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What the requests of one row have in common. Probes have no tenant and no policy."""

    hour: int
    """Unix seconds divided by HOUR_S, of the end of the requests."""
    kind: RowKind
    provider: str
    model: str
    """As clients name it."""
    tenant: str = ""
    """The name of a client with a key, else an HMAC, hexadecimal."""
    policy: str = ""


class RowSums(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Sums over the requests of a row; those that are counted as `unpriced` or `unmetered` add no dollars."""

    requests: int = 0
    """Answered ones."""
    unpriced: int = 0
    """Of these: at a provider whose price is not known."""
    unmetered: int = 0
    """Of these: whose answer said nothing of tokens."""
    cache_unreported: int = 0
    """Of these: whose answer did not say how much was read from the cache. They count as if nothing had been."""
    prompt_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    paid_usd: float = 0.0
    uncached_usd: float = 0.0
    """Had no provider a cache."""
    spread_usd: float = 0.0
    """Had each request been spread anew, as in mode Off."""
    cheapest_usd: float = 0.0
    """Had each request gone to the cheapest provider by price lists."""

    def plus(self, other: "RowSums") -> "RowSums":
        """Both together."""
        return RowSums(
            self.requests + other.requests,
            self.unpriced + other.unpriced,
            self.unmetered + other.unmetered,
            self.cache_unreported + other.cache_unreported,
            self.prompt_tokens + other.prompt_tokens,
            self.cached_tokens + other.cached_tokens,
            self.output_tokens + other.output_tokens,
            self.paid_usd + other.paid_usd,
            self.uncached_usd + other.uncached_usd,
            self.spread_usd + other.spread_usd,
            self.cheapest_usd + other.cheapest_usd,
        )


SUMS: Final[tuple[str, ...]] = RowSums.__struct_fields__
NOTHING_SPENT: Final = RowSums()

Rows: TypeAlias = Mapping[RowKey, RowSums]

KEY_FIELDS: Final[tuple[str, ...]] = RowKey.__struct_fields__
KINDS: Final[tuple[str, ...]] = get_args(RowKind)


def added(rows: Iterable[tuple[RowKey, RowSums]]) -> dict[RowKey, RowSums]:
    """Rows of equal keys as one."""
    total: dict[RowKey, RowSums] = {}
    for key, sums in rows:
        before = total.get(key)
        total[key] = sums if before is None else before.plus(sums)
    return total
