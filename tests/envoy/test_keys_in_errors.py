"""A provider quotes the key that it refuses, and its client's: neither begins as keys do, and nobody may read them."""

from typing import Final

import pytest
from tests.envoy.guarded import guarded
from tests.envoy.upstream import Reply, Upstream

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_CLIENTS: Final = "my-own-words-for-a-key"
_BEGUN: Final = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'
_JSON: Final = {"content-type": "application/json"}


def _quoting(key: str) -> bytes:
    return b'{"error":{"message":"The word %s of %s is odd","code":"x"}}' % (key.encode(), _CLIENTS.encode())


@pytest.mark.parametrize("header_mode", [False, True], ids=["metadata", "header"])
async def test_a_key_without_a_beginning_that_is_known_is_blanked(
    number: int, sellers: Sellers, parser: Parser, header_mode: bool
) -> None:
    key = sellers["a"].config.api_keys[0]
    streamed = b"data: " + _quoting(key) + b"\n\n"
    replies = {
        False: Reply(400, {**_JSON, "x-asked-with": f"Bearer {key} for {_CLIENTS}"}, _quoting(key)),
        True: Reply(200, {"content-type": "text/event-stream"}, pieces=[_BEGUN, streamed]),
    }
    async with (
        guarded(number, sellers, parser, "Required", header_mode=header_mode) as story,
        Upstream(lambda got: replies[got.json.get("stream", False)]) as upstream,
    ):
        await story.serve("a", specs={"a": {"url": upstream.url}}, laptop=_CLIENTS)
        await story.until_status(_CLIENTS, 400)
        whole, stream = [await story.stage.post(story.turn(stream=each), key=_CLIENTS) for each in (False, True)]
        assert (whole.status, stream.status) == (400, 200)
        assert whole.headers["x-asked-with"] == "Bearer [key] for [key]"
        assert whole.body == _quoting("[key]").replace(_CLIENTS.encode(), b"[key]")
        assert stream.body == _BEGUN + streamed.replace(key.encode(), b"[key]").replace(_CLIENTS.encode(), b"[key]")
