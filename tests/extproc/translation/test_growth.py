"""Whatever a client or a provider sends, the work is in proportion to it."""

import json
from collections.abc import Callable
from typing import Any, Final

import pytest
from tests.extproc.translation.growth import growth
from tests.extproc.translation.shapes import chat, user
from tests.extproc.translation.test_stream import START, begin, delta, sse

from limpet_extproc.translation.request import untranslatable
from limpet_extproc.translation.stream import StreamTranslation

MOST: Final = 9


def check(**fields: Any) -> None:
    untranslatable(json.dumps(chat(**fields)).encode())


def url(of: str) -> Callable[[int], None]:
    def work(size: int) -> None:
        check(messages=[user([{"type": "image_url", "image_url": {"url": of * size}}])])

    return work


def results(size: int) -> None:
    calls = [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}] * size
    answers = [user("x"), {"role": "tool", "tool_call_id": "a", "content": "1"}] * size
    check(messages=[user("Go"), {"role": "assistant", "tool_calls": calls}, *answers])


def stream(body: bytes, piece: int) -> None:
    translation = StreamTranslation(17, usage_asked=True)
    for at in range(0, len(body), piece):
        translation.feed(body[at : at + piece])
    translation.end()


_THOUGHT: Final = delta(0, type="thinking_delta", thinking="x" * 200)
WORK: Final[dict[str, tuple[Callable[[int], object], int]]] = {
    "semicolons": (url("data:image/png;"), 200_000),
    "parameters": (url(";a"), 1_000_000),
    "a long word": (url("data:"), 500_000),
    "tool results among other things": (results, 5_000),
    "models": (lambda size: check(model="claude-" * size), 200_000),
    "thinking": (lambda n: stream(sse(START, begin(0, type="thinking"), *[_THOUGHT] * n), 16384), 4_000),
    "pieces of one event": (lambda n: stream(sse(START, begin(0, type="text", text="x" * n)), 512), 800_000),
    "lines of one event": (lambda n: stream(sse(START) + b"data: 1\n" * n, 512), 10_000),
    "empty lines": (lambda n: stream(sse(START) + b"\n" * n, 512), 100_000),
}


@pytest.mark.parametrize("name", WORK)
def test_four_times_as_much_takes_about_four_times_as_long(name: str) -> None:
    work, size = WORK[name]
    assert growth(work, size) < MOST
