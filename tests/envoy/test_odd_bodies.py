"""Thousands of odd bodies: what reaches a provider is right to the byte, and nothing hangs, breaks or swells.

`make fuzz` sends twenty thousand, with another seed each time; the seed is printed.
"""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import psutil
import pytest
from tests.envoy.stage import Stage
from tests.envoy.upstream import Got, Reply, Upstream
from tests.odd_bodies import as_it_must_arrive, bodies, members

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_BODIES: Final = int(os.environ.get("LIMPET_FUZZ_BODIES", "500"))
_SEED: Final = int(os.environ.get("LIMPET_FUZZ_SEED", "1"))
_MOST_MB: Final = 64.0
"""That ext_proc may grow by; a leak would show, and what one body takes is below."""


def _cpu_s(process: psutil.Process) -> float:
    """Of the loop that decides and of the reader's, to the nanosecond."""
    each = (process, *process.children())
    return sum(int(Path("/proc", str(one.pid), "schedstat").read_text().split()[0]) for one in each) / 1e9


_CHAT: Final[Mapping[str, Any]] = {}
_MESSAGES: Final[Mapping[str, Any]] = {"vendor": "Anthropic", "dialects": ["OpenAIChat", "AnthropicMessages"]}


def _answer(_: Got) -> Reply:
    """Of either API."""
    body = {"object": "chat.completion", "choices": [{"message": {"content": "Hi"}}], "type": "message", "content": []}
    return Reply(headers={"content-type": "application/json"}, body=body)


@pytest.mark.parametrize(
    ("api", "path", "spec"),
    [("OpenAIChat", "/v1/chat/completions", _CHAT), ("AnthropicMessages", "/v1/messages", _MESSAGES)],
    ids=["chat", "messages"],
)
async def test_odd_bodies_arrive_right_or_are_refused(
    stage: Stage, api: str, path: str, spec: Mapping[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    process = psutil.Process(stage.gateway.children.pid("ext_proc"))
    accepted, worst_s, slowest_s = 0, (0.0, b""), (0.0, b"")
    async with Upstream(_answer) as upstream:
        await stage.serve("a", specs={"a": {**spec, "url": upstream.url}})
        before_mb = most_mb = process.memory_info().rss / 1e6
        for body in bodies(stage.model, _SEED, _BODIES, api=api, blocks=api == "AnthropicMessages"):
            arrived, cpu_s, began = len(upstream.got), _cpu_s(process), time.perf_counter()
            answer = await stage.post(body, path=path)
            slowest_s = max(slowest_s, (time.perf_counter() - began, body[:200]))
            worst_s = max(worst_s, (_cpu_s(process) - cpu_s, body[:200]))
            most_mb = max(most_mb, process.memory_info().rss / 1e6)
            sent = members(body)
            if answer.status != 200:
                assert 400 <= answer.status < 500, (answer, body)
                assert len(upstream.got) == arrived, body
                continue
            accepted += 1
            assert answer.headers["x-limpet-decision"] != "fallback.undecided", body
            assert sent is not None, body
            got = members(upstream.got[-1].body)
            assert got is not None, upstream.got[-1].body
            assert [(each.key, each.value) for each in got] == as_it_must_arrive(sent, stage.model, "flash.a"), body
    with capsys.disabled():
        print(
            f"\nseed {_SEED}: {_BODIES} odd bodies of {api}, {accepted} accepted; at most {worst_s[0] * 1000:.1f} ms "
            f"of CPU and {slowest_s[0] * 1000:.0f} ms for one, memory +{most_mb - before_mb:.1f} MB"
        )
    assert accepted > _BODIES / 10
    assert most_mb - before_mb < _MOST_MB
