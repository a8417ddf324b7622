"""Requests of a trace as a client would send them: chat completions with text in the place of each block."""

from typing import Final

from limpet_lab.replay.requests import ReplayedRequest, ReplayedRequests
from limpet_lab.replay.trace import BLOCK_TOKENS

BYTES_PER_TOKEN: Final = 4
"""As of English prose; the gateway does not know it."""

_WORD_BYTES: Final = 8
_WORDS: Final = BLOCK_TOKENS * BYTES_PER_TOKEN // _WORD_BYTES


def body_of(request: ReplayedRequest, requests: ReplayedRequests, model: str) -> bytes:
    """The request in JSON. Equal beginnings have equal bytes."""
    text = b"".join([_text(block, requests) for block in request.blocks])
    parts = [b'{"model":"', model.encode(), b'","stream":true,"messages":[']
    begin, last = 0, request.messages[-1]
    for message in request.messages:
        parts += [b'{"role":"', message.role.encode(), b'","content":"']
        parts += [text[begin * BYTES_PER_TOKEN : message.end_tokens * BYTES_PER_TOKEN]]
        parts.append(b'"}' if message is last else b'"},')
        begin = message.end_tokens
    parts.append(b"]}")
    return b"".join(parts)


def _text(block: int, requests: ReplayedRequests) -> bytes:
    text = b"%07x " % block * _WORDS
    tail = requests.tails.get(block)
    if tail is None:
        return text
    begun = tail.tokens * BYTES_PER_TOKEN
    return _text(tail.block, requests)[:begun] + text[begun:]
