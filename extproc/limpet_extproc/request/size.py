"""How large a prompt is, by its body: pictures and files in it count by number, not by the bytes that carry them."""

from typing import Final

_BASE64: Final = b";base64,"
"""Begins the content of a data URL, which ends with the string that it stands in."""

ATTACHMENT_BYTES: Final = 3_000
"""What an attachment, or a form with files, counts as: about a thousand tokens. Vendors charge 85 to 1,600 for a
picture, by its area (OpenAI and Anthropic, vision guides, 2026), however well it compresses."""


SEARCHED_BYTES: Final = 128 * 1024
"""A smaller body counts as text alone: to search each would cost as much as half a decision."""


def prompt_bytes(body: bytes | memoryview) -> int:
    """The bytes of text in a request's body, with ATTACHMENT_BYTES for each attachment in base64."""
    return len(body) if len(body) < SEARCHED_BYTES else text_bytes(bytes(body))


def text_bytes(text: bytes) -> int:
    """The same of a part of a body, whatever its length."""
    size = len(text)
    begin = text.find(_BASE64)
    while begin >= 0:
        begin += len(_BASE64)
        end = text.find(b'"', begin)
        end = len(text) if end < 0 else end
        size += min(0, ATTACHMENT_BYTES - (end - begin))
        begin = text.find(_BASE64, end)
    return size
