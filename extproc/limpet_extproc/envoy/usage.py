"""The token usage of an answer, as Envoy's Lua notes it for the access log: one form for the words of all vendors."""

from struct import Struct
from typing import Final

import msgspec

from limpet_extproc.contract.envoy import (
    USAGE_CACHED,
    USAGE_OUTPUT,
    USAGE_PROMPT,
    USAGE_REASONING,
    USAGE_WRITTEN,
    USAGE_WRITTEN_LONG,
)
from limpet_extproc.envoy.noted import numbers

MAX_TOKENS: Final = 100_000_000
"""No prompt and no answer has more: a larger number is the provider's mistake, and would stay in the sums."""


class TokenUsage(msgspec.Struct, frozen=True, gc=False):
    """Tokens of one answer, as the provider counted them. None: not reported, which is not the same as zero."""

    prompt: int
    """With all that was read from the cache or written to it."""
    cached: int | None
    """Of the prompt, read from the cache."""
    output: int
    """0 also where the API has none, as that of embeddings."""
    written: int | None = None
    """Of the prompt, written to the cache."""
    written_long: int | None = None
    """Of these, for an hour or longer."""
    reasoning: int | None = None
    """Of the output."""


_unpack_double: Final = Struct("<d").unpack
_PROMPT, _CACHED, _OUTPUT = USAGE_PROMPT.encode(), USAGE_CACHED.encode(), USAGE_OUTPUT.encode()
_WRITTEN, _WRITTEN_LONG, _REASONING = USAGE_WRITTEN.encode(), USAGE_WRITTEN_LONG.encode(), USAGE_REASONING.encode()


def read(noted: bytes) -> TokenUsage | None:
    """The usage of an answer, by what was noted of it; None where it carried none.

    The numbers are the provider's, and are not taken further than they can be true: a part is no more than the whole.
    """
    tokens = {name: _tokens(double) for name, double in numbers(noted)}.get
    prompt = tokens(_PROMPT)
    if prompt is None:
        return None
    output, cached, written = tokens(_OUTPUT, 0), tokens(_CACHED), tokens(_WRITTEN)
    if cached is not None and cached > prompt:
        cached = prompt
    if written is not None and written > prompt:
        written = prompt
    written_long, reasoning = tokens(_WRITTEN_LONG), tokens(_REASONING)
    if written_long is not None:
        written_long = min(written_long, written or 0)
    if reasoning is not None and reasoning > output:
        reasoning = output
    return TokenUsage(prompt, cached, output, written, written_long, reasoning)


def _tokens(double: bytes) -> int:
    (number,) = _unpack_double(double)
    if 0.0 < number <= MAX_TOKENS:
        return int(number)
    return int(min(max(0.0, number), MAX_TOKENS)) if number == number else 0
