"""The prompts of the Infron test: one long head a conversation, with nothing in common with any other conversation's.

The article's table has a 12,000-character prefix, about 4,213 prompt tokens in all and 4,096 of them cached. With the
simulated tokeniser's 2.9 characters a token the same numbers come out: 12,000 characters and the role make 4,141
tokens, the question the other 72.
"""

from hashlib import sha256
from typing import Final

PREFIX_CHARS: Final = 12_000
QUESTION_CHARS: Final = 202

ChatMessages = list[dict[str, str]]


def messages_for(conversation: str) -> ChatMessages:
    """The request of one round; different conversations differ from the first character on."""
    rows: list[str] = []
    length = 0
    while length < PREFIX_CHARS:
        digest = sha256(f"{conversation}/{len(rows)}".encode()).hexdigest()
        grams, cents = int(digest[12:16], 16), int(digest[16:19], 16)
        row = f"{digest[:12]} part {digest[19:27]}, shelf {digest[27:31]}, weighs {grams} g, costs {cents} cents"
        rows.append(row)
        length += len(row) + 1
    prefix = "\n".join(rows)[:PREFIX_CHARS]
    question = "Which of these parts are the heaviest ten, on which shelves are they, and what do they cost together?"
    return [
        {"role": "system", "content": prefix},
        {"role": "user", "content": question.ljust(QUESTION_CHARS, "?")},
    ]


def messages_with(conversation: str, prompt: str) -> ChatMessages:
    """The same for a prompt of the user's own: its head is made different, so that no round warms another's cache."""
    tag = sha256(conversation.encode()).hexdigest()[:24]
    return [
        {"role": "system", "content": f"{tag}\n{prompt}"},
        {"role": "user", "content": "Sum this up in one sentence."},
    ]
