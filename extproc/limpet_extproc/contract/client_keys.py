"""The keys by which clients of the gateway are told apart and let in: digests alone, as the operator sends them.

A key is hashed where it is read, so neither workers nor catalogs have one. A plain SHA-256 is enough for keys that are
drawn at random, as `limpet client-key new` does: there is nothing to guess.
"""

import hmac
from collections.abc import Mapping
from hashlib import sha256
from typing import Final, Literal

import msgspec

ClientKeysMode = Literal["Required", "Optional", "Off"]
"""Required: a request without a key of ours is refused. Optional: it is served as that of a stranger. Off: keys are
not looked at."""

KEY_PREFIX: Final = "lpk-"
"""How the keys begin that `limpet client-key new` makes."""
SHORTEST_KEY: Final = 16
LONGEST_KEY: Final = 512
"""Characters; what a client sends beyond them is not even hashed."""
DIGEST_BYTES: Final = 32


class ClientKey(msgspec.Struct, frozen=True):
    """A client, by its keys, and what it may use."""

    name: str
    """The tenant: what is remembered, counted and billed for it is under this name, whatever its key is."""
    digests: tuple[str, ...]
    """Of each of its keys, hexadecimal; two while one is replaced by another."""
    models: tuple[str, ...] = ()
    """Patterns of the models that it may ask for; empty: any."""
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    """Prompt and answer together."""
    usd_per_day: float | None = None
    """A day in UTC."""
    labels: Mapping[str, str] = {}
    """For people; nothing is decided by them."""
    debug: bool = False
    """Whether it may ask why its requests go where they go."""


class ClientKeys(msgspec.Struct, frozen=True):
    """Whom a gateway serves."""

    mode: ClientKeysMode = "Off"
    keys: tuple[ClientKey, ...] = ()


def digest_of(key: str) -> bytes:
    """By which a key is known."""
    return sha256(key.encode()).digest()


def same_digest(one: bytes, other: bytes) -> bool:
    """Compared in a time that does not depend on where they differ."""
    return hmac.compare_digest(one, other)
