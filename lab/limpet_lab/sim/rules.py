"""What a vendor does: its cache rules, the shape of its usage report and its errors, read from `data/vendors.yaml`."""

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Final, Literal

import msgspec
import yaml

Quantity = Literal[
    "prompt",
    "plain",
    "output",
    "reasoning",
    "total",
    "cached",
    "missed",
    "written",
    "written_short",
    "written_long",
    "zero",
]


LONG_S: Final = 3600.0
"""What stays for so long or longer is charged as a long write."""


class UnknownVendorError(Exception):
    """No entry of that name; the message lists those that exist."""


class CacheRules(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One prompt cache's behaviour; every field is explained at the top of `data/vendors.yaml`."""

    block_tokens: int = 64
    interval_tokens: int | None = None
    min_tokens: int = 0
    ttl_seconds: float | None = 300.0
    asked_ttls: Mapping[str, float] = {}
    """Seconds that a prompt stays, by the word with which a request asks for it."""
    refresh_on_hit: bool = True
    readable_after: Literal["RequestStart", "FirstByte"] = "FirstByte"
    readable_delay_seconds: float = 0.0
    per_account: bool = True
    partition_by: tuple[str, ...] = ()
    cache_output: bool = False
    only_marked: bool = False
    max_blocks: int = 50_000

    def __post_init__(self) -> None:
        """Refuse sizes no cache can have."""
        if self.block_tokens < 1 or self.max_blocks < 1 or self.min_tokens < 0:
            raise ValueError("blockTokens and maxBlocks must be at least 1, minTokens at least 0")
        if self.step_tokens < 1 or self.step_tokens % self.block_tokens:
            raise ValueError(f"intervalTokens must be a multiple of blockTokens ({self.block_tokens})")

    def asked_ttl_s(self, body: Mapping[str, object]) -> float | None:
        """How long a request asks for its prompt to stay; None: it does not, or in words unknown here."""
        options = body.get("prompt_cache_options")
        word = options.get("ttl") if isinstance(options, Mapping) else body.get("prompt_cache_retention")
        return self.asked_ttls.get(word) if isinstance(word, str) else None

    @property
    def step_tokens(self) -> int:
        """Distance between the places where a stored prefix may end."""
        return self.block_tokens if self.interval_tokens is None else self.interval_tokens


class ErrorWords(msgspec.Struct, frozen=True):
    """The machine-readable part of an error."""

    type: str
    code: str | None


class Errors(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Where vendors differ; everything else is OpenAI's."""

    bad_key: ErrorWords = ErrorWords("invalid_request_error", "invalid_api_key")
    unknown_model: ErrorWords = ErrorWords("invalid_request_error", "model_not_found")


class Auth(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the key is expected."""

    header: str = "Authorization"
    scheme: Literal["Bearer", "Raw"] = "Bearer"
    """Raw: the bare key."""


class VendorRules(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """Everything a simulated seller takes from its vendor."""

    cache: CacheRules
    usage: dict[str, Quantity]
    reports_cache: bool = True
    stream_usage: Literal["Asked", "Always"] = "Asked"
    auth: Auth = Auth()
    auth_too: Auth | None = None
    dialects: tuple[str, ...] = ("OpenAIChat",)
    messages_base: str = ""
    endpoints: tuple[str, ...] = ()
    extra_fields: tuple[str, ...] = ()
    errors: Errors = Errors()

    def messages_bases(self, base: str) -> tuple[str, ...]:
        """What may come before `/messages`."""
        return tuple(dict.fromkeys((base, self.messages_base or base)))


def vendors() -> tuple[str, ...]:
    """The names a seller may use, in the order of the file."""
    return tuple(_document()["vendors"])


def fields_of(api: str) -> frozenset[str]:
    """The top-level fields of a request to an API, as the file names it."""
    return frozenset(_document()["fields"][api])


def rules_for(vendor: str, cache_overrides: dict[str, object] | None = None) -> VendorRules:
    """The vendor's rules, with a seller's own cache numbers laid over them.

    Raises UnknownVendorError, and msgspec.ValidationError when an override has a wrong name, type or value.
    """
    entries = _document()["vendors"]
    if vendor not in entries:
        raise UnknownVendorError(f"vendor {vendor!r} is not known: use one of {', '.join(entries)}")
    entry = dict(entries[vendor])
    own = cache_overrides or {}
    merged = {**entry["cache"], **own}
    if "blockTokens" in own and "intervalTokens" not in own:
        merged.pop("intervalTokens", None)
    return msgspec.convert({**entry, "cache": merged}, VendorRules)


@cache
def _document() -> dict[str, Any]:
    text = resources.files("limpet_lab").joinpath("data/vendors.yaml").read_text(encoding="utf-8")
    document: dict[str, Any] = yaml.safe_load(text)
    return document
