"""Requests of a trace as a client would send them: chat completions with text in the place of each block."""

from typing import Final

from limpet_lab.replay.requests import Ask
from limpet_lab.replay.trace import BLOCK_TOKENS

BYTES_PER_TOKEN: Final = 4
"""As of English prose; the gateway does not know it."""

_WORD_BYTES: Final = 8
_WORDS: Final = BLOCK_TOKENS * BYTES_PER_TOKEN // _WORD_BYTES


def body_of(ask: Ask, model: str) -> bytes:
    """The request in JSON. Equal beginnings have equal bytes."""
    parts = [b'{"model":"', model.encode(), b'","stream":true,"messages":[']
    begin, last = 0, len(ask.messages) - 1
    for place, end in enumerate(ask.messages):
        role = _role(ask, place, last)
        parts += [b'{"role":"', role, b'","content":"']
        parts += [b"%07x " % block * _WORDS for block in ask.blocks[begin : end - (place == last)]]
        if place == last:
            parts.append(_last(ask))
        parts.append(b'"}' if place == last else b'"},')
        begin = end
    parts.append(b"]}")
    return b"".join(parts)


def _role(ask: Ask, place: int, last: int) -> bytes:
    if place == 0 and ask.has_system:
        return b"system"
    # The messages in between are answers, with what the user said to them.
    return b"user" if place in (last, int(ask.has_system)) else b"assistant"


def _last(ask: Ask) -> bytes:
    """The text of the last block, which is mostly a part of one."""
    tokens = ask.prompt_tokens - (len(ask.blocks) - 1) * BLOCK_TOKENS
    return (b"%07x " % ask.blocks[-1] * _WORDS)[: tokens * BYTES_PER_TOKEN]
