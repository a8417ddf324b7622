"""A prompt's size is that of its text; attachments count by number."""

import json
from typing import Any

import pytest

from limpet_extproc.request.size import ATTACHMENT_BYTES, SEARCHED_BYTES, prompt_bytes

_TEXT = {"type": "text", "text": "What is this? " * 10_000}


def _picture(size: int) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}


def _body(*parts: dict[str, Any]) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": list(parts)}]}).encode()


@pytest.mark.parametrize(
    ("parts", "more"),
    [
        ((_TEXT,), 0),
        ((_TEXT, _picture(2_000_000)), ATTACHMENT_BYTES),
        ((_picture(2_000_000), _TEXT, _picture(500_000)), 2 * ATTACHMENT_BYTES),
        ((_TEXT, _picture(10)), 10),
    ],
    ids=["text alone", "one picture", "two pictures", "a tiny picture"],
)
def test_an_attachment_counts_as_one(parts: tuple[dict[str, Any], ...], more: int) -> None:
    bare = [_picture(0) if part["type"] == "image_url" else part for part in parts]
    assert prompt_bytes(_body(*parts)) == len(_body(*bare)) + more


def test_a_body_that_breaks_off_in_an_attachment_has_a_size() -> None:
    assert prompt_bytes(b'{"a": "data:;base64,' + b"A" * SEARCHED_BYTES) == 20 + ATTACHMENT_BYTES


def test_a_view_is_as_large_as_its_bytes() -> None:
    body = _body(_TEXT, _picture(9_999))
    assert prompt_bytes(memoryview(body)) == prompt_bytes(body)


def test_a_small_body_is_not_searched() -> None:
    body = _body(_picture(SEARCHED_BYTES // 2))
    assert prompt_bytes(body) == len(body)
