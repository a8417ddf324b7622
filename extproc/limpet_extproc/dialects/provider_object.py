"""The `provider` object: the demands that Limpet knows, and errors for the others."""

import json
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from math import inf
from typing import Any, Final, get_args

import msgspec
from msgspec import Raw

from limpet_extproc.dialects.port import BadRequestError, ProviderObject, Sort
from limpet_extproc.dialects.spans import Member, Text, member_at, span_of

MAX_BYTES: Final = 1 << 16
"""Of the object, as written."""

MAX_NAMES: Final = 100
"""In one of its lists."""

MAX_OBJECTS: Final = 100
"""Within it, itself included; each is checked for duplicate keys."""

SUPPORTED: Final = (
    "order",
    "only",
    "ignore",
    "sort",
    "allow_fallbacks",
    "max_price",
    "data_collection",
    "zdr",
)
"""Demands that Limpet itself enforces, for all providers."""

_UNSUPPORTED: Final = (
    "require_parameters",
    "enforce_distillable_text",
    "quantizations",
    "preferred_min_throughput",
    "preferred_max_latency",
)
"""Further demands in OpenRouter's documentation (openrouter.ai/docs/guides/routing/provider-selection, 2026)."""

_LISTS: Final = ("order", "only", "ignore")
_SORTS: Final = get_args(Sort)
_PRICES: Final = ("prompt", "completion")
_UNSUPPORTED_PRICES: Final = ("request", "image", "audio")

_ABSENT: Final = Raw(b"")


class _Lists(msgspec.Struct, frozen=True, gc=False):
    order: Raw = _ABSENT
    only: Raw = _ABSENT
    ignore: Raw = _ABSENT


_DECODER: Final = msgspec.json.Decoder(_Lists)


def parse_provider_object(text: Text) -> ProviderObject | None:
    """The demands in the object; None for null. Raises BadRequestError, whose `param` is the field in `provider`."""
    fields = _read(text)
    if fields is None:
        return None
    prices, unsupported_prices = _prices(fields)
    return ProviderObject(
        order=_names(fields, "order"),
        only=_names(fields, "only"),
        ignore=_names(fields, "ignore"),
        sort=_sort(fields.get("sort")),
        allow_fallbacks=_boolean(fields, "allow_fallbacks"),
        max_prompt_usd=prices.get("prompt"),
        max_completion_usd=prices.get("completion"),
        no_training=_data_collection(fields.get("data_collection")),
        no_retention=_boolean(fields, "zdr") or False,
        unsupported=(*_unsupported("provider", fields, SUPPORTED, _UNSUPPORTED), *unsupported_prices),
    )


def lists_of(body: memoryview, value: Raw) -> tuple[Member, ...]:
    """Where the lists of names stand, so that those of our own providers can be cut."""
    lists = _DECODER.decode(value)
    found = ((name, getattr(lists, name)) for name in _LISTS)
    return tuple(member_at(body, name, span_of(body, raw)) for name, raw in found if raw is not _ABSENT)


def _read(text: Text) -> dict[str, Any] | None:
    if len(memoryview(text)) > MAX_BYTES:
        raise BadRequestError("provider", f"'provider' is longer than {MAX_BYTES} bytes, which no such object needs")
    if (written := bytes(text)).count(b"{") > MAX_OBJECTS:
        raise BadRequestError(
            "provider", f"'provider' has more than {MAX_OBJECTS} objects in it, which no such object needs"
        )
    try:
        # Unlike the decoder of the body it takes halves of surrogate pairs, and here it is duplicates that matter.
        fields = json.loads(written, object_pairs_hook=_unique, parse_int=_number)
    except RecursionError as error:
        raise BadRequestError("provider", "'provider' is nested too deeply to be read") from error
    if fields is not None and not isinstance(fields, dict):
        raise _wrong("provider", "an object", fields)
    return fields


def _number(digits: str) -> int | float:
    # Python refuses to read very long ones, which nothing here needs.
    return int(digits) if len(digits) <= _SHORT else float(digits)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(pairs) > MAX_NAMES:
        raise BadRequestError("provider", f"'provider' has an object of more than {MAX_NAMES} fields")
    if len(fields) != len(pairs):
        names = [name for name, _ in pairs]
        double = next(name for name in names if names.count(name) > 1)
        raise BadRequestError(f"provider.{_short(double)}", f"'provider' has the key '{_short(double)}' more than once")
    return fields


def _names(fields: Mapping[str, Any], name: str) -> tuple[str, ...]:
    names = fields.get(name)
    field = f"provider.{name}"
    if names is None:
        return ()
    if not isinstance(names, list):
        raise _wrong(field, "a list of providers' names", names)
    if len(names) > MAX_NAMES:
        raise BadRequestError(field, f"'{field}' has more than {MAX_NAMES} names")
    for position, each in enumerate(names):
        if not isinstance(each, str):
            raise _wrong(f"{field}[{position}]", "a provider's name", each)
    # Half a surrogate pair is no provider's name, but a reader could not send it on.
    return tuple(each if each.isascii() else _writable(each) for each in names)


def _boolean(fields: Mapping[str, Any], name: str) -> bool | None:
    value = fields.get(name)
    if value is not None and not isinstance(value, bool):
        raise _wrong(f"provider.{name}", "true or false", value)
    return value


def _sort(value: Any) -> Sort | None:
    by, partition = (value.get("by"), value.get("partition")) if isinstance(value, dict) else (value, None)
    right = f"one of {_listed(_SORTS)}, or an object with one of them under 'by'"
    if isinstance(value, dict) and value.keys() - {"by", "partition"}:
        raise _wrong("provider.sort", right, value)
    if by is not None and by not in _SORTS:
        raise _wrong("provider.sort" if by is value else "provider.sort.by", right, by)
    if partition not in (None, "model", "none"):
        raise _wrong("provider.sort.partition", "'model' or 'none'", partition)
    sort: Sort | None = by
    return sort


def _data_collection(value: Any) -> bool:
    if value not in (None, "allow", "deny"):
        raise _wrong("provider.data_collection", "'allow' or 'deny'", value)
    return bool(value == "deny")


def _prices(fields: Mapping[str, Any]) -> tuple[dict[str, float], tuple[str, ...]]:
    """Dollars per million tokens, and the limits that only a provider itself can keep."""
    prices = fields.get("max_price")
    if prices is None:
        return {}, ()
    if not isinstance(prices, dict):
        raise _wrong(
            "provider.max_price", "an object with dollars per million tokens under 'prompt' and 'completion'", prices
        )
    limits = {name: _usd(name, prices[name]) for name in _PRICES if prices.get(name) is not None}
    return limits, _unsupported("provider.max_price", prices, _PRICES, _UNSUPPORTED_PRICES)


def _usd(name: str, value: Any) -> float:
    try:
        usd = float(value) if isinstance(value, float | str) or type(value) is int else -1.0
    except ValueError:
        usd = -1.0
    if not 0 <= usd < inf:
        raise _wrong(f"provider.max_price.{name}", "a number of dollars per million tokens", value)
    return usd


def _unsupported(
    where: str, fields: Mapping[str, Any], supported: Collection[str], others: Collection[str]
) -> tuple[str, ...]:
    """The other fields that demand something. Raises BadRequestError for a probable typo."""
    found = [name for name, value in fields.items() if name not in supported and value not in _NOTHING]
    for name in found[:_MAX_CHECKED]:
        close = get_close_matches(name[:_SHORT], (*supported, *others), 1, 0.75)
        if close and name not in others:
            message = (
                f"'{where}.{_short(name)}' is not known; did you mean '{close[0]}'? Known are {_listed(supported)}."
            )
            raise BadRequestError(f"{where}.{_short(name)}", message)
    return tuple(f"{where}.{_short(name)}" for name in found)


_NOTHING: Final[tuple[Any, ...]] = (None, False, "", "allow", [], {})
"""Values that demand nothing, whatever the field means."""

_MAX_CHECKED: Final = 8
"""Fields that are checked for typos: more take longer than all the rest of a request."""

_SHORT: Final = 64


def _short(name: str) -> str:
    return _writable(name[:_SHORT])


def _writable(text: str) -> str:
    return text.encode("utf-8", "replace").decode()


def _listed(names: Collection[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _wrong(field: str, right: str, value: Any) -> BadRequestError:
    shown = json.dumps(value)
    shown = shown if len(shown) <= _SHORT else shown[:_SHORT] + "…"
    return BadRequestError(field, f"'{field}' has the wrong type or value: write {right}, not {shown}")
