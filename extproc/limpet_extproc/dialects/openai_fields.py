"""What chat completions and Responses have in common: the fields about caches, and who asks."""

from typing import Any, Final, TypeVar

import msgspec
from msgspec import Raw

from limpet_extproc.dialects.cache_directives import cache_directives
from limpet_extproc.dialects.careful import CarefulReader, Fields
from limpet_extproc.dialects.opener import ABSENT
from limpet_extproc.dialects.plain import Flag, ShortName
from limpet_extproc.dialects.port import CacheDirectives


class OpenAIFields(Fields, frozen=True, gc=False, kw_only=True):
    """For `CarefulReader`."""

    prompt_cache_key: Raw = ABSENT
    prompt_cache_retention: Raw = ABSENT
    prompt_cache_options: Raw = ABSENT
    user: Raw = ABSENT


_OpenAI = TypeVar("_OpenAI", bound=OpenAIFields)

PLAIN_FIELDS: Final[list[tuple[str, Any, Any]]] = [
    ("prompt_cache_key", ShortName, None),
    ("prompt_cache_retention", Raw, ABSENT),
    ("prompt_cache_options", Raw, ABSENT),
    ("user", ShortName, None),
    ("stream", Flag, None),
    ("service_tier", ShortName, None),
]
"""For `PlainReader`, the first of a dialect's."""


def careful_cache_directives(
    reader: CarefulReader[_OpenAI], prompt: msgspec.json.Decoder[Any] | None, cache_key: str | None
) -> CacheDirectives | None:
    """`cache_directives` of a request that is read carefully."""
    fields = reader.fields
    return cache_directives(
        reader.text,
        prompt,
        has_key=bool(cache_key),
        retention=fields.prompt_cache_retention,
        options=fields.prompt_cache_options,
    )
