"""The top-level fields of a chat request that have no counterpart, or need none: dropped, or refused.

Dropped is what the answer does not depend on, or what is a wish by OpenAI's own description; refused is what a client
would notice. Fields that neither this table nor `request` knows are refused too: Anthropic takes no unknown ones.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from limpet_extproc.dialects.careful import OURS
from limpet_extproc.translation.untranslatable import decoded, refuse

_ANYTHING: Final[msgspec.json.Decoder[object]] = msgspec.json.Decoder()


class Uncarried(NamedTuple):
    """A field that does not reach the provider."""

    reason: str
    """Why it may be missing, or why the request is refused where it asks for more than is `harmless`."""
    harmless: Callable[[object], bool] = lambda _: True


def _only(*values: object) -> Callable[[object], bool]:
    return lambda value: value in values


UNCARRIED: Final[dict[str, Uncarried]] = {
    **{name: Uncarried("Limpet's own") for name in OURS},
    "store": Uncarried("keeping answers is a service of OpenAI's own"),
    "metadata": Uncarried("labels what OpenAI stores"),
    "seed": Uncarried("best effort at OpenAI, too; Anthropic has none"),
    "prompt_cache_key": Uncarried("Anthropic's cache needs no key"),
    "prompt_cache_options": Uncarried("Anthropic's cache is asked for by cache_control"),
    "prompt_cache_retention": Uncarried("Anthropic's cache is asked for by cache_control"),
    "prediction": Uncarried("makes OpenAI faster and changes no answer"),
    "verbosity": Uncarried("a wish; Anthropic has none"),
    "stream_options": Uncarried("heeded when the answer is translated"),
    "n": Uncarried("Anthropic gives one answer", _only(1)),
    "frequency_penalty": Uncarried("Anthropic has no penalties", _only(0)),
    "presence_penalty": Uncarried("Anthropic has no penalties", _only(0)),
    "logit_bias": Uncarried("Anthropic has no bias of tokens", _only({})),
    "logprobs": Uncarried("Anthropic reports no probabilities", _only(False)),
    "top_logprobs": Uncarried("Anthropic reports no probabilities", _only(0)),
    "modalities": Uncarried("Anthropic answers in text", _only([], ["text"])),
    "audio": Uncarried("Anthropic answers in text", _only()),
    "web_search_options": Uncarried("Anthropic's search is a tool of its own", _only()),
    "functions": Uncarried("the old form of tools; send tools", _only([])),
    "function_call": Uncarried("the old form of tool_choice; send tool_choice", _only("none", "auto")),
}


def check_uncarried(name: str, raw: msgspec.Raw) -> None:
    """Raises UntranslatableError for a field that would be missed."""
    known = UNCARRIED.get(name)
    if known is None:
        refuse(name, "Anthropic's API has no such field")
    if not known.harmless(decoded(_ANYTHING, raw, name)):
        refuse(name, known.reason)
