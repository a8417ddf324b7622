"""The entries of a Secret with client keys: each is a client's name, and its keys, their digests or a mapping."""

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec
import yaml

from limpet_extproc.contract.api_keys import BLANK, blanked, may_be_key
from limpet_extproc.contract.client_keys import (
    DIGEST_BYTES,
    KEY_PREFIX,
    LONGEST_KEY,
    SHORTEST_KEY,
    ClientKey,
    digest_of,
)

LABEL: Final = "limpet.dev/client-keys"
"""Of Secrets whose entries are keys of clients; any value but `false`."""

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[-_.A-Za-z0-9]{0,61}[A-Za-z0-9])?")
_DIGEST: Final = "sha256:"
_HEX: Final = re.compile(rf"[0-9a-fA-F]{{{2 * DIGEST_BYTES}}}")
_LOOKS_LIKE_DIGEST: Final = re.compile(rf"(?i:sha[-_]?\d+[:=-].*|(?:\w+[:=])?{_HEX.pattern})")
"""Taken as a key, a digest would open the gateway to all who may read it."""
_MOST_KEYS: Final = 8
_UNQUOTED: Final = frozenset({"true", "false", "null"})


class EntryError(ValueError):
    """An entry that is no client; the message says what is wrong, without showing a key."""


class _KeyEntry(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    key: str | list[str] = []
    sha256: str | list[str] = []
    models: list[str] = []
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    usd_per_day: float | None = None
    labels: dict[str, str] = {}
    debug: bool = False


_FIELDS: Final = _KeyEntry.__struct_encode_fields__


def is_for_clients(labels: Mapping[str, str]) -> bool:
    """Whether a Secret with these labels holds keys of clients."""
    return labels.get(LABEL, "false").lower() != "false"


def shown_name(name: str) -> str:
    """A client's name as messages have it: one that is no name may be a key, written on the wrong side."""
    return BLANK if _NAME.fullmatch(name) is None or may_be_key(name) else name


def client_key(name: str, value: bytes) -> ClientKey:
    """A client, from one entry. Raises EntryError."""
    if _NAME.fullmatch(name) is None:
        raise EntryError("a client's name has up to 63 letters, digits, '-', '_' and '.', and begins and ends with one")
    if name.lower().startswith(KEY_PREFIX) or _LOOKS_LIKE_DIGEST.fullmatch(name) is not None:
        raise EntryError("a client's name looks like a key or a digest: write the name first, and its key as the value")
    if name.lower() in _UNQUOTED:
        raise EntryError(
            "a client's name is what kubectl makes of yes, no, on or off without quotes: write it in quotes"
        )
    try:
        text = value.decode()
    except UnicodeDecodeError as error:
        raise EntryError("is not text in UTF-8") from error
    entry = _entry(text)
    digests = [*map(_hashed, _several(entry.key)), *map(_given, _several(entry.sha256))]
    if not digests:
        raise EntryError("has no key: write one, or sha256: and its digest")
    if len(digests) > _MOST_KEYS:
        raise EntryError(f"has more than {_MOST_KEYS} keys; take those out that are not in use any more")
    _check_limits(entry)
    return ClientKey(
        name,
        tuple(dict.fromkeys(digests)),
        tuple(entry.models),
        entry.requests_per_minute,
        entry.tokens_per_minute,
        entry.usd_per_day,
        entry.labels,
        entry.debug,
    )


def _entry(text: str) -> _KeyEntry:
    """A mapping as it is; anything else is a list of keys with space between."""
    words = text.split()
    if words and (words[0].startswith("{") or words[0].endswith(":")):
        return _mapping(text)
    digests = [word for word in words if word.lower().startswith(_DIGEST)]
    return _KeyEntry(key=[word for word in words if not word.lower().startswith(_DIGEST)], sha256=digests)


def _mapping(text: str) -> _KeyEntry:
    try:
        raw = _json(text) or yaml.safe_load(text)
    except yaml.YAMLError as error:
        # Without the text that the error would show: it may be a key.
        raise EntryError("is not a mapping in YAML or JSON") from error
    if isinstance(raw, dict) and isinstance(raw.get("key"), bool | int | float):
        raise EntryError("has a key that is not text: write it in quotes")
    if isinstance(raw, dict) and (unknown := next((field for field in raw if field not in _FIELDS), None)) is not None:
        raise EntryError(f"has an unknown field `{shown_name(str(unknown))}`; an entry takes {', '.join(_FIELDS)}")
    try:
        return msgspec.convert(raw, _KeyEntry)
    except msgspec.ValidationError as error:
        raise EntryError(blanked(str(error))) from error


def _json(text: str) -> Any:
    """Whose numbers YAML does not all read; None: it is none."""
    try:
        return msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return None


def _several(keys: str | list[str]) -> list[str]:
    return [keys] if isinstance(keys, str) else keys


def _hashed(key: str) -> str:
    if _LOOKS_LIKE_DIGEST.fullmatch(key) is not None:
        raise EntryError(
            f"looks like a digest: write {_DIGEST} and its {2 * DIGEST_BYTES} hexadecimal digits, or in a mapping "
            "sha256; a key itself may not look so"
        )
    if len(key) < SHORTEST_KEY:
        raise EntryError(f"has a key of {len(key)} characters: it could be guessed; write {SHORTEST_KEY} or more")
    if len(key) > LONGEST_KEY:
        raise EntryError(f"has a key of more than {LONGEST_KEY} characters; write a shorter one")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise EntryError("has a key with a space or a character that no header can carry; write ASCII without spaces")
    return digest_of(key).hex()


def _given(digest: str) -> str:
    digest = digest[len(_DIGEST) :] if digest.lower().startswith(_DIGEST) else digest
    if _HEX.fullmatch(digest) is None:
        raise EntryError(f"has a sha256 that is not {2 * DIGEST_BYTES} hexadecimal digits")
    return digest.lower()


def _check_limits(entry: _KeyEntry) -> None:
    limits = {
        "requestsPerMinute": entry.requests_per_minute,
        "tokensPerMinute": entry.tokens_per_minute,
        "usdPerDay": entry.usd_per_day,
    }
    for field, limit in limits.items():
        if limit is not None and not 0 < limit < 1e12:
            raise EntryError(f"{field} is {limit:g}: it must be above 0; to shut a client out, take its entry away")
