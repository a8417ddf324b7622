"""Requests of a trace as a client would send them: chat completions with text in the place of each block."""

from typing import Final

from limpet_lab.replay.requests import Ask, Asks
from limpet_lab.replay.trace import BLOCK_TOKENS

BYTES_PER_TOKEN: Final = 4
"""As of English prose; the gateway does not know it."""

_WORD_BYTES: Final = 8
_WORDS: Final = BLOCK_TOKENS * BYTES_PER_TOKEN // _WORD_BYTES


def body_of(ask: Ask, asks: Asks, model: str) -> bytes:
    """The request in JSON. Equal beginnings have equal bytes."""
    text = b"".join([_text(block, asks) for block in ask.blocks])
    parts = [b'{"model":"', model.encode(), b'","stream":true,"messages":[']
    begin, last = 0, len(ask.messages) - 1
    for place, end in enumerate(ask.messages):
        parts += [b'{"role":"', _role(ask, place, last), b'","content":"']
        parts += [text[begin * BYTES_PER_TOKEN : end * BYTES_PER_TOKEN], b'"}' if place == last else b'"},']
        begin = end
    parts.append(b"]}")
    return b"".join(parts)


def _text(block: int, asks: Asks) -> bytes:
    text = b"%07x " % block * _WORDS
    tail = asks.tails.get(block)
    if tail is None:
        return text
    ending, tokens = tail
    begun = tokens * BYTES_PER_TOKEN
    return _text(ending, asks)[:begun] + text[begun:]


def _role(ask: Ask, place: int, last: int) -> bytes:
    if place == 0 and ask.has_system:
        return b"system"
    # The messages in between are answers, with what the user said to them.
    return b"user" if place in (last, int(ask.has_system)) else b"assistant"
