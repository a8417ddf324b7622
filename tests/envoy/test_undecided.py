"""Nobody decides: Envoy alone keeps to what must hold, model by model, and refuses what ext_proc would refuse."""

import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
import pytest_asyncio
from tests.envoy.cast import say
from tests.envoy.conftest import running_gateway, set_stage
from tests.envoy.stage import Raw, Stage
from tests.envoy.upstream import RESET, Reply, Upstream
from tests.waiting import until

from limpet_lab.sim.sellers import Sellers
from limpet_operator.resources.objects import Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

# The last of two flags counts: the operator that this worker looks for is a socket on which nobody listens.
_DEAF = (
    "import sys; from limpet_extproc.__main__ import main; "
    "main([*sys.argv[1:], '--control-plane=unix:/nonexistent.sock'])"
)
_SLASHED, _ACCENTED, _ROCKET = "deepseek/x", "é/\u00fc", "rocket \U0001f680"
_TAIL = '"messages":[{"role":"user","content":"hi \\" } ] \\\\"}]'


class Rig:
    """Two providers and what came to them: `b` is asked first, `e` is the only one with the model `only-e`."""

    def __init__(self, stage: Stage, first: Upstream, second: Upstream) -> None:
        self.stage, self.first, self.second = stage, first, second

    async def post(self, body: str | bytes, **headers: str) -> Raw:
        """One request, and nothing of the ones before."""
        self.first.got.clear()
        self.second.got.clear()
        return await self.stage.post(body.encode() if isinstance(body, str) else body, headers=headers)

    @property
    def bodies(self) -> tuple[list[bytes], list[bytes]]:
        """What came to the first and to the second."""
        return [got.body for got in self.first.got], [got.body for got in self.second.got]


@asynccontextmanager
async def _rig(number: int, sellers: Sellers, parser: Parser, header_mode: bool) -> AsyncIterator[Rig]:
    async with (
        running_gateway(header_mode=header_mode, extproc=(sys.executable, "-c", _DEAF)) as running,
        set_stage(number, sellers, running, parser) as stage,
        Upstream() as first,
        Upstream() as second,
    ):
        models = [{"name": name, "upstreamName": "other"} for name in (_SLASHED, _ACCENTED, _ROCKET)]
        specs: dict[str, dict[str, Any]] = {
            "b": {"url": first.url, "models": [*models, {"name": "plain"}, {"name": "nul"}]},
            "e": {
                "url": second.url,
                "models": [*models, {"name": "only-e"}, {"name": "plain", "upstreamName": "simple"}],
            },
        }
        stage.gateway.apply(stage.planned(stage.objects(["b", "e"], specs, {"b": None, "e": None}), {}))
        rig = Rig(stage, first, second)

        async def served() -> bool:
            try:
                answers = [await rig.post(f'{{"model":"{model}",{_TAIL}}}') for model in ("nul", "only-e")]
                return all(answer.status == 200 for answer in answers)
            except OSError:
                return False

        await until(served, "the route")
        yield rig


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=[False, True], ids=["metadata", "header"])
async def rig(
    request: pytest.FixtureRequest, numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> AsyncIterator[Rig]:
    async with _rig(next(numbers), sellers, parser, request.param) as running:
        yield running


_IN_ORDER = pytest.mark.parametrize("rig", [False], ids=["metadata"], indirect=True, scope="module")
"""In the other mode a header names one provider for all attempts."""


@pytest.mark.parametrize(
    ("sent", "came"),
    [
        (f'{{"model":"plain",{_TAIL}}}', f'{{"model":"plain",{_TAIL}}}'),
        (f'{{"model":"deepseek/x",{_TAIL}}}', f'{{"model":"other",{_TAIL}}}'),
        (f'{{"model":"deepseek\\/x",{_TAIL}}}', f'{{"model":"other",{_TAIL}}}'),
        (f'{{"model":"\\u0064eepseek/\\u0078",{_TAIL}}}', f'{{"model":"other",{_TAIL}}}'),
        (f'{{"model":"\\u00e9/ü",{_TAIL}}}', f'{{"model":"other",{_TAIL}}}'),
        (f'{{"model":"rocket \\ud83d\\uDE80",{_TAIL}}}', f'{{"model":"other",{_TAIL}}}'),
        (f'{{"mod\\u0065l":"deepseek/x",{_TAIL}}}', f'{{"mod\\u0065l":"other",{_TAIL}}}'),
        (f'\n{{ {_TAIL} , "model" :\t"deepseek/x" }}\n', f'\n{{ {_TAIL} , "model" :\t"other" }}\n'),
        (
            '{"x":{"model":"a"},"y":["model","b"],"model":"plain"}',
            '{"x":{"model":"a"},"y":["model","b"],"model":"plain"}',
        ),
        ('{"session_id":"s","model":"plain"}', '{"model":"plain"}'),
        ('{"model":"plain","session_id":"s"}', '{"model":"plain"}'),
        ('{"provider":{},"session_id":1,"model":"deepseek/x","allow_fallbacks":null}', '{"model":"other"}'),
        (
            '{"a":1,"allow_fallbacks":true,"model":"plain","session_id":{"x":[1]},"b":2}',
            '{"a":1,"model":"plain","b":2}',
        ),
        ('{"model":"plain","provider":{"order":["e"],"sort":"price","zdr":false}}', '{"model":"plain"}'),
        ('{"models":[],"model":"plain"}', '{"model":"plain"}'),
        ('{"model":"plain","models":[ "plain" ]}', '{"model":"plain"}'),
        ('{"model":"plain","provider":{"data_collection":"allow","only":null}}', '{"model":"plain"}'),
    ],
)
async def test_a_listed_model_goes_to_who_serves_it_with_its_name_there_and_without_our_fields(
    rig: Rig, sent: str, came: str
) -> None:
    answer = await rig.post(sent)
    assert (answer.status, answer.headers["x-limpet-decision"]) == (200, "fallback.undecided")
    assert rig.bodies == ([came.encode()], [])
    assert rig.first.got[0].header("content-length") == str(len(came.encode()))


async def test_a_model_that_only_a_later_provider_serves_goes_there(rig: Rig) -> None:
    answer = await rig.post(f'{{"model":"only-e",{_TAIL}}}')
    assert rig.stage.seller_of(answer.headers["x-limpet-provider"]) == "e"
    assert rig.bodies[0] == []


@_IN_ORDER
async def test_a_failing_provider_is_passed_over(rig: Rig) -> None:
    script, rig.first.script = rig.first.script, lambda _: Reply(status=503)
    try:
        answer = await rig.post('{"model":"plain"}')
    finally:
        rig.first.script = script
    assert answer.status == 200
    assert rig.bodies == ([b'{"model":"plain"}'], [b'{"model":"simple"}'])


@_IN_ORDER
@pytest.mark.parametrize("stream", ["", ',"stream":true', ',"stream":false'])
async def test_where_all_fail_the_most_telling_error_is_told(rig: Rig, stream: str) -> None:
    scripts = rig.first.script, rig.second.script
    rig.first.script, rig.second.script = lambda _: Reply(status=429, headers={"retry-after": "9"}), lambda _: RESET
    try:
        answer = await rig.post(f'{{"model":"plain"{stream}}}')
    finally:
        rig.first.script, rig.second.script = scripts
    assert (answer.status, answer.headers["retry-after"]) == (429, "9")
    tried = f"{rig.stage.provider('b')} 429, {rig.stage.provider('e')} no connection"
    assert answer.headers["x-limpet-tried"] == tried
    assert f"({tried})" in answer.json["error"]["message"]


@pytest.mark.parametrize("stream", ["", ',"stream":true'], ids=["plain", "stream"])
@pytest.mark.parametrize(
    ("reply", "status", "outcome", "retry_after"),
    [
        (Reply(status=429, headers={"retry-after": "9"}), 429, "429", "9"),
        (Reply(status=429, headers={"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}), 429, "429 with", "86400"),
        (Reply(status=401), 502, "401", None),
        (Reply(status=400, body={"error": {"message": "No."}}), 400, "400", None),
    ],
    ids=["limit", "date", "key", "request"],
)
async def test_where_there_is_one_provider_its_error_is_told(
    rig: Rig, reply: Reply, status: int, outcome: str, retry_after: str | None, stream: str
) -> None:
    script, rig.second.script = rig.second.script, lambda _: reply
    try:
        answer = await rig.post(f'{{"model":"only-e"{stream}}}')
    finally:
        rig.second.script = script
    assert (answer.status, answer.headers.get("retry-after")) == (status, retry_after)
    assert answer.headers["x-limpet-tried"].startswith(f"{rig.stage.provider('e')} {outcome}")


async def test_who_allows_no_fallbacks_is_served_by_one_provider_or_nobody(rig: Rig) -> None:
    sent = '{"model":"plain","allow_fallbacks":false}'
    assert (await rig.post(sent)).status == 200
    script, rig.first.script = rig.first.script, lambda _: Reply(status=503)
    try:
        answer = await rig.post(sent)
    finally:
        rig.first.script = script
    assert answer.status == 503
    assert rig.bodies == ([b'{"model":"plain"}'], [])


@pytest.mark.parametrize(
    ("sent", "status", "code", "param"),
    [
        ("garbage", 400, "bad_request", None),
        ("[]", 400, "bad_request", None),
        ('"model"', 400, "bad_request", None),
        (" ", 400, "bad_request", None),
        ('{"model":"plain"', 400, "bad_request", None),
        ('{"model":"plain"}}', 400, "bad_request", None),
        ('{"model":"plain"}x', 400, "bad_request", None),
        ('{"model":"plain",}', 400, "bad_request", None),
        ('{"a":1 "x"}', 400, "bad_request", "model"),
        ('{"model":"plain" "x"}', 400, "bad_request", "model"),
        ('{"model"}', 400, "bad_request", None),
        ('{"a":,"model":"plain"}', 400, "bad_request", None),
        ('{"a":"b","model":"plain', 400, "bad_request", None),
        ('{"model":"plain","a\\x":1}', 400, "bad_request", None),
        ("{}", 400, "bad_request", "model"),
        (f"{{{_TAIL}}}", 400, "bad_request", "model"),
        ('{"model":5}', 400, "bad_request", "model"),
        ('{"model":["plain"]}', 400, "bad_request", "model"),
        ('{"model":"plain","Model":"other"}', 400, "bad_request", "Model"),
        ('{"MODEL":"plain"}', 400, "bad_request", "MODEL"),
        ('{"model":"plain","provider":null,"provider":null}', 400, "bad_request", "provider"),
        ('{"model":"plain","messages":[],"messag\\u0065s":[]}', 400, "bad_request", "messages"),
        ('{"model":"plain","models":["only-e"]}', 400, "bad_request", "models"),
        ('{"model":"plain","models":["plain","only-e"]}', 400, "bad_request", "models"),
        ('{"model":"plain","model":"plain"}', 400, "bad_request", "model"),
        ('{"model":"plain","mod\\u0065l":"plain"}', 400, "bad_request", "model"),
        ('{"model":"unlisted"}', 404, "model_not_found", "model"),
        ('{"model":"other"}', 404, "model_not_found", "model"),
        ('{"model":"nul\\u0000x"}', 404, "model_not_found", "model"),
        ('{"model":"nul\\u0000"}', 404, "model_not_found", "model"),
        ('{"model":"\\ud83d"}', 404, "model_not_found", "model"),
        ('{"model":""}', 404, "model_not_found", "model"),
        ('{"model":"plain","provider":{"only":["b"]}}', 503, "no_provider_available", "provider"),
        ('{"model":"plain","provider":{"zdr":true}}', 503, "no_provider_available", "provider"),
        (
            '{"model":"plain","provider":{"order":["b"],"allow_fallbacks":false}}',
            503,
            "no_provider_available",
            "provider",
        ),
        ('{"model":"plain","provider":["b"]}', 503, "no_provider_available", "provider"),
        ('{"model":"plain","x":[' + "[]," * 150_000 + "[]]}", 503, "no_provider_available", None),
        ('{"model":"plain",' + '"model":"plain",' * 150_000 + '"x":0}', 400, "bad_request", "model"),
        ('{"model":"plain",' + '"Model":"plain",' * 150_000 + '"x":0}', 400, "bad_request", "Model"),
    ],
)
async def test_anything_else_is_refused_and_no_provider_is_asked(
    rig: Rig, sent: str, status: int, code: str, param: str | None
) -> None:
    answer = await rig.post(sent)
    assert (answer.status, answer.json["error"]["code"], answer.json["error"]["param"]) == (status, code, param)
    assert answer.json["error"]["message"]
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-limpet-decision"].startswith(("refused.", "fallback.undecided"))
    assert "x-limpet-provider" not in answer.headers
    assert rig.bodies == ([], [])


async def test_a_body_that_is_encoded_is_refused_as_it_is_otherwise(rig: Rig) -> None:
    answer = await rig.post('{"model":"plain"}', **{"content-encoding": "gzip"})
    assert (answer.status, answer.headers["x-limpet-decision"]) == (415, "refused.content_encoding")
    assert rig.bodies == ([], [])


async def test_a_large_prompt_is_no_large_number_of_parts(rig: Rig) -> None:
    sent = json.dumps({"model": "only-e", "messages": [say('\\n"quoted" ' * 20_000), say("A" * 8_000_000)]})
    answer = await rig.post(sent)
    assert answer.status == 200
    assert rig.bodies == ([], [sent.encode()])


def _random_value(rng: Random, depth: int = 0) -> Any:
    kind = rng.randrange(7 if depth < 3 else 5)
    if kind < 3:
        return "".join(rng.choice('ab"\\/{}[]:,é\U0001f680\n\x00 ') for _ in range(rng.randrange(8)))
    if kind < 5:
        return rng.choice([None, True, -1, 1e9, 0.5])
    if kind == 5:
        return [_random_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    return {str(_random_value(rng, 3)): _random_value(rng, depth + 1) for _ in range(rng.randrange(4))}


@pytest.mark.parametrize("seed", range(60))
async def test_whatever_stands_beside_them_comes_as_it_was_sent(rig: Rig, seed: int) -> None:
    rng = Random(seed)
    model = rng.choice([_SLASHED, _ACCENTED, _ROCKET, "plain"])
    ours = rng.sample(["session_id", "allow_fallbacks", "provider"], rng.randrange(4))
    others = {str(_random_value(rng, 3)) + "+": _random_value(rng) for _ in range(rng.randrange(5))}
    members = [*others.items(), ("model", model), *((name, None) for name in ours)]
    rng.shuffle(members)
    comma, colon = rng.choice([(",", ":"), (" , ", " : "), (",\r\n\t", ":\n")])
    sent = json.dumps(dict(members), ensure_ascii=rng.random() < 0.5, separators=(comma, colon))
    there = "plain" if model == "plain" else "other"
    kept = [(name, there if name == "model" else value) for name, value in members if name not in ours]
    answer = await rig.post(sent)
    assert answer.status == 200, (sent, answer.body)
    ((came,), rest) = rig.bodies
    assert json.loads(came, object_pairs_hook=list) == json.loads(json.dumps(dict(kept)), object_pairs_hook=list)
    assert rest == []


async def test_nothing_is_sent_that_may_be_another_clients(
    numbers: Iterator[int], sellers: Sellers, parser: Parser
) -> None:
    keeps = {"vendor": "Custom", "dialects": ["OpenAIChat", "OpenAIResponses"], "endpoints": ["files"]}
    async with (
        running_gateway(header_mode=False, extproc=(sys.executable, "-c", _DEAF)) as running,
        set_stage(next(numbers), sellers, running, parser) as stage,
        Upstream() as upstream,
    ):
        specs = {"e": {**keeps, "url": upstream.url, "models": [{"name": "plain"}]}}
        stage.gateway.apply(stage.planned(stage.objects(["e"], specs, {"e": None}), {}))

        async def served() -> bool:
            try:
                return (await stage.post({"model": "plain", "messages": [say("hi")]})).status == 200
            except OSError:
                return False

        await until(served, "the route")
        upstream.got.clear()
        for path, body in (
            ("/v1/chat/completions", '{"model":"plain","messages":[{"content":[{"file":{"file_id":"x"}}]}]}'),
            ("/v1/chat/completions", '{"model":"plain","messages":[{"content":[{"file":{"file_\\u0069d":"x"}}]}]}'),
            ("/v1/responses", '{"model":"plain","input":"x","tools":[{"vector_store_ids":["x"]}]}'),
            ("/v1/responses", '{"model":"plain","input":[{"type":"item_reference","id":"x"}]}'),
            ("/v1/responses", '{"model":"plain","input":[{"id":"x"}]}'),
        ):
            answer = await stage.post(body.encode(), path=path)
            assert (answer.status, answer.headers["x-limpet-decision"]) == (503, "fallback.undecided"), body
        assert not upstream.got


async def test_what_only_asks_for_an_explanation_goes_nowhere(rig: Rig) -> None:
    answer = await rig.post(f'{{"model":"plain",{_TAIL}}}', **{"x-limpet-debug": "explain-only"})
    assert (answer.status, answer.headers["x-limpet-decision"]) == (503, "refused.debug")
    assert "nothing was sent" in answer.json["error"]["message"]
    assert rig.bodies == ([], [])
