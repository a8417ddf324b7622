"""The text of a provider's error: a key that it quotes is blanked, and nobody waits for good for one that stalls."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest
from tests.envoy.cast import say
from tests.envoy.stage import Raw, Stage
from tests.envoy.upstream import CLOSE, Reply, Script, Upstream, completion

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_QUICK: Final = {"connect": "200ms", "firstByte": "300ms", "unstreamed": "300ms", "idle": "5s"}
_JSON: Final = {"content-type": "application/json"}
_KEY: Final = "sk-proj-SECRETSECRETSECRET0123456789"


def _always(reply: Reply | str) -> Script:
    return lambda _: reply


@asynccontextmanager
async def _serving(stage: Stage, *replies: Reply | str) -> AsyncIterator[list[Upstream]]:
    """Providers a and b, which always answer so."""
    async with AsyncExitStack() as stack:
        upstreams = [await stack.enter_async_context(Upstream(_always(reply))) for reply in replies]
        specs = {name: {"url": each.url, "timeouts": _QUICK} for name, each in zip("ab", upstreams, strict=False)}
        await stage.serve(*specs, specs=specs)
        yield upstreams


async def _ask(stage: Stage, upstreams: Sequence[Upstream], *, stream: bool = False) -> Raw:
    order = [stage.provider(name) for name in "ab"[: len(upstreams)]]
    body = {"model": stage.model, "messages": [say("Well?")], "provider": {"order": order}, "stream": stream}
    return await stage.post(body)


def _quoting(key: str) -> bytes:
    return (
        f'{{"error":  {{"message":"Not \\n{key}, **not** key_values of Bearer auth",\n'
        f'"request_id":"req_011CSHoEeqs5C35K2UUqR7Fy", "token": ["{key}"] }} }}\n'
    ).encode()


@pytest.mark.parametrize("status", [400, 429, 500])
@pytest.mark.parametrize("pieces", [False, True], ids=["whole", "in pieces"])
@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (_KEY, "[key]"),
        ("gsk_abcd****wxyz", "[key]"),
        ("AIzaSyA0123456", "[key]"),
        ("xa***yz", "[key]"),
        ("Bearer abcdef0123456", "Bearer [key]"),
        ("task-4711", "task-4711"),
    ],
)
async def test_a_key_that_a_vendor_quotes_is_blanked_and_all_else_stays(
    stage: Stage, status: int, pieces: bool, key: str, shown: str
) -> None:
    sent = _quoting(key)
    reply = Reply(status, _JSON, pieces=[sent[:40], sent[40:]]) if pieces else Reply(status, _JSON, sent)
    async with _serving(stage, reply) as upstreams:
        answer = await _ask(stage, upstreams)
        assert (answer.status, answer.body) == (status, _quoting(shown))


async def test_a_key_is_blanked_in_an_error_that_another_attempt_came_after(stage: Stage) -> None:
    too_long = Reply(413, _JSON, {"error": {"message": f"Too long {_KEY}", "type": "t", "code": "x"}})
    async with _serving(stage, too_long, CLOSE) as upstreams:
        assert "Too long [key] (" in (await _ask(stage, upstreams)).json["error"]["message"]


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("status", [400, 401, 429, 503])
@pytest.mark.parametrize("begun", [[], [b'{"error": {"mess']], ids=["not at all", "in part"])
async def test_an_error_whose_text_does_not_come_is_asked_of_the_next_provider(
    stage: Stage, status: int, stream: bool, begun: list[bytes]
) -> None:
    stalled = Reply(status, _JSON, pieces=begun, stalls=True)
    async with _serving(stage, stalled, completion()) as upstreams:
        answer = await _ask(stage, upstreams, stream=stream)
        assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("b"))
        assert [len(each.got) for each in upstreams] == [1, 1]
    async with _serving(stage, stalled, Reply(500, _JSON, {"error": {"message": "Oops"}})) as upstreams:
        answer = await _ask(stage, upstreams, stream=stream)
        assert answer.status == 500
        assert answer.headers["x-limpet-tried"] == f"{stage.provider('a')} {status}, {stage.provider('b')} 500"
