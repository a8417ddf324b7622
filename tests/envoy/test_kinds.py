"""Kinds of trouble that users of gateways have reported, and what comes of each here; one table a family."""

from collections.abc import Mapping
from typing import Any, Final

import pytest
from tests.envoy.cast import say
from tests.envoy.kinds import Ask, Kind, Rule, Want, play
from tests.envoy.stage import Stage
from tests.envoy.upstream import CLOSE, RESET, Reply, Upstream, completion, events

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_FIRST: Final = (Ask(), Want(by="a", decision="first.scored", attempts=1))
_STAYS: Final = (Ask(turn=2), Want(by="a", decision="sticky.hit", attempts=1))


def _json(status: int, body: object, **headers: str) -> Reply:
    return Reply(status, {"content-type": "application/json", **headers}, body)


def _error(status: int, message: str, **fields: object) -> Reply:
    return _json(status, {"error": {"message": message, **fields}})


def _moves(says: str, answer: Reply | bytes | str, *, stream: bool = False, up: tuple[str, ...] = ("a", "b")) -> Kind:
    """Warm at `a`, which then answers so: `b` serves the client at once, and the conversation lives there."""
    return Kind(
        says,
        a=[Rule(answer, turns=range(2, 100))],
        turns=[
            _FIRST,
            (Ask(turn=2, stream=stream), Want(by="b", attempts=2, lacks=("location",))),
            (Ask(turn=3), Want(by="b", decision="sticky.hit", attempts=1)),
        ],
        asked={"a": 2, "b": 2},
        up=up,
    )


_NOT_OUR_KEY: Final = {
    "google's words": _json(
        400,
        [
            {
                "error": {
                    "code": 400,
                    "message": "The API key is not valid.",
                    "status": "INVALID_ARGUMENT",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            }
        ],
    ),
    "no credit": _json(
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "No credit is left on this account."}},
    ),
    "billing": _error(400, "The account has no billing.", type="billing_error", code="billing_hard_limit_reached"),
    "openai's words": _error(400, "The key is wrong.", type="invalid_request_error", code="invalid_api_key"),
    "quota": _error(400, "You exceeded your current quota.", code="insufficient_quota"),
}
_STATUSES: Final = (405, 407, 409, 410, 412, 421, 423, 424, 425, 451, 498)


@pytest.mark.parametrize("answer", _NOT_OUR_KEY.values(), ids=_NOT_OUR_KEY.keys())
async def test_a_400_about_our_key_or_credit_is_the_providers(stage: Stage, answer: Reply) -> None:
    await play(_moves("a 400 about us", answer), stage)


@pytest.mark.parametrize("status", _STATUSES)
async def test_statuses_that_are_not_about_the_request_are_the_providers(stage: Stage, status: int) -> None:
    await play(_moves(f"status {status}", _error(status, "no")), stage)


@pytest.mark.parametrize("status", [400, 422])
async def test_what_is_about_the_request_passes_at_once_and_costs_nobody_anything(stage: Stage, status: int) -> None:
    kind = Kind(
        "a 400 about the request",
        a=[Rule(_error(status, "temperature must be at most 2"), contains="too hot")],
        turns=[
            (Ask("too hot"), Want(status, by="a", attempts=1, says="temperature must be")),
            (Ask("mild"), Want(by="a", attempts=1)),
        ],
        asked={"b": 0},
    )
    await play(kind, stage)


_REDIRECTS: Final = (301, 302, 303, 304, 307, 308)


@pytest.mark.parametrize("status", _REDIRECTS)
async def test_a_redirect_never_reaches_the_client(stage: Stage, status: int) -> None:
    await play(_moves(f"redirect {status}", Reply(status, {"location": "https://login.internal.example/"})), stage)


async def test_redirects_of_all_end_in_an_error_of_ours(stage: Stage) -> None:
    everywhere = [Rule(Reply(307, {"location": "https://elsewhere.example/"}))]
    wanted = Want(502, says="no_provider_available", lacks=("location",))
    await play(Kind("all redirect", a=everywhere, b=everywhere, turns=[(Ask(), wanted)]), stage)


_NO_ANSWERS: Final[Mapping[str, Reply]] = {
    "error object": _error(200, "The provider behind us returned an error", code=502),
    "error as a choice": _json(
        200,
        {
            "id": "x",
            "object": "chat.completion",
            "choices": [{"index": 0, "finish_reason": "error", "message": {"role": "assistant", "content": ""}}],
        },
    ),
    "empty body": Reply(200, {"content-type": "application/json"}),
    "HTML": Reply(200, {"content-type": "text/html"}, b"<html>Sign in</html>"),
    "no content": Reply(204),
    "accepted": _json(202, {"status": "queued"}),
}


@pytest.mark.parametrize("answer", _NO_ANSWERS.values(), ids=_NO_ANSWERS.keys())
async def test_a_success_that_is_no_answer_is_asked_elsewhere(stage: Stage, answer: Reply) -> None:
    await play(_moves("no answer", answer), stage)


_NO_STREAMS: Final[Mapping[str, Reply]] = {
    "error in the first event": events(
        {"error": {"message": "behind us", "code": 502}, "choices": [{"index": 0, "finish_reason": "error"}]}
    ),
    "named error event": Reply(
        headers={"content-type": "text/event-stream"},
        pieces=[b'event: error\ndata: {"error":{"message":"overloaded","type":"overloaded_error"}}\n\n'],
    ),
    "nothing but the end": events(),
}


@pytest.mark.parametrize("answer", _NO_STREAMS.values(), ids=_NO_STREAMS.keys())
async def test_a_stream_that_is_no_answer_makes_nothing_warm(stage: Stage, answer: Reply) -> None:
    """Its first bytes may have reached the client, so it need not be asked elsewhere; but the next turn is."""
    kind = Kind(
        "no answer in a stream",
        a=[Rule(answer, turns=range(1, 2))],
        turns=[(Ask("torn", stream=True), Want()), (Ask("torn", 2), Want(by="b", decision="sticky.left.failed"))],
        up=(),
    )
    await play(kind, stage)


@pytest.mark.parametrize("end", [RESET, CLOSE])
async def test_a_connection_that_ends_as_it_is_used_again_is_no_failure(stage: Stage, end: str) -> None:
    kind = Kind(
        "closed at reuse",
        a=[Rule(end, on_connection=2)],
        turns=[(Ask(turn=turn), Want(by="a")) for turn in range(1, 5)],
        asked={"b": 0},
    )
    await play(kind, stage)


@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
@pytest.mark.parametrize("end", [RESET, CLOSE])
async def test_with_one_provider_alone_such_a_connection_costs_no_error(stage: Stage, end: str, stream: bool) -> None:
    async with Upstream(lambda got: end if got.on_connection == 2 else completion()) as a:
        await stage.serve("a", specs={"a": {"url": a.url}})
        for turn in range(1, 6):
            body = {"model": stage.model, "messages": [say(f"Turn {turn}")], "stream": stream}
            answer = await stage.post(body)
            assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("a"))
        assert a.connections > 1
        await stage.settle()
        assert not await stage.metric("limpet_provider_out", provider=stage.provider("a"))


async def test_the_limit_of_one_model_leaves_the_others_where_they_are(stage: Stage) -> None:
    limit = _json(429, {"error": {"message": "Tokens per minute are used up"}}, **{"retry-after": "40"})
    kind = Kind(
        "limit of one model",
        a=[Rule(limit, contains="too much")],
        turns=[
            (Ask(plain_model=True), Want(by="a")),
            (Ask("too much"), Want(by="b", attempts=2)),
            (Ask(turn=2, plain_model=True), Want(by="a", decision="sticky.hit")),
        ],
        up=(),
    )
    await play(kind, stage)


async def test_an_answer_marked_as_rate_limited_by_an_envoy_is_asked_elsewhere(stage: Stage) -> None:
    limited = _json(429, {"error": {"message": "slow down"}}, **{"x-envoy-ratelimited": "true"})
    await play(_moves("limited by an Envoy", limited), stage)


_KEPT: Final[Mapping[str, dict[str, Any]]] = {
    "nothing asked": {
        "sort": None,
        "order": None,
        "zdr": None,
        "data_collection": "allow",
        "require_parameters": False,
    },
    "by price": {"sort": {"by": "price"}},
    "by throughput": {"sort": "throughput"},
}
_REFUSED: Final[Mapping[str, tuple[dict[str, Any], str]]] = {
    "quantizations": ({"quantizations": ["fp8"]}, "provider.quantizations"),
    "require_parameters": ({"require_parameters": True}, "provider.require_parameters"),
    "a misspelling": ({"orders": ["b"]}, "provider.orders"),
    "wrong value": ({"sort": "speed"}, "provider.sort"),
}


@pytest.mark.parametrize("provider", _KEPT.values(), ids=_KEPT.keys())
async def test_demands_that_can_be_kept_are(stage: Stage, provider: dict[str, Any]) -> None:
    await play(Kind("kept", turns=[(Ask(extra={"provider": provider}), Want())]), stage)


@pytest.mark.parametrize(("provider", "param"), _REFUSED.values(), ids=_REFUSED.keys())
async def test_demands_that_cannot_be_kept_are_refused_by_name(
    stage: Stage, provider: dict[str, Any], param: str
) -> None:
    ask = Ask(extra={"provider": provider})
    await play(Kind("refused", turns=[(ask, Want(400, by="", param=param))], asked={"a": 0, "b": 0}), stage)


@pytest.mark.parametrize("provider", [{"zdr": True}, {"data_collection": "deny"}], ids=["zdr", "data_collection"])
async def test_what_is_unknown_of_a_provider_satisfies_no_demand(stage: Stage, provider: dict[str, Any]) -> None:
    ask = Ask(extra={"provider": provider})
    await play(Kind("unknown policy", turns=[(ask, Want(400, by=""))], asked={"a": 0, "b": 0}), stage)
    specs = {"b": {"dataPolicy": {"zeroRetention": True, "trainsOnPrompts": False}}}
    await play(Kind("known policy", turns=[(ask, Want(by="b"))], specs=specs, asked={"a": 0}), stage)


_HALF: Final = {
    "assistant": rb'{"role":"user","content":"hi"},{"role":"assistant","content":"torn \ud83e off"}',
    "user": rb'{"role":"user","content":"hi \ud83e"}',
    "low half": rb'{"role":"user","content":"hi"},{"role":"assistant","content":"\udd80"}',
    "key": rb'{"role":"user","content":"hi","na\ud83eme":1}',
}


@pytest.mark.parametrize("messages", _HALF.values(), ids=_HALF.keys())
async def test_half_of_a_surrogate_pair_passes_as_it_is(stage: Stage, messages: bytes) -> None:
    ask = Ask(raw=b'{"model":"MODEL","messages":[' + messages + b"]}")
    await play(Kind("half a pair", turns=[(ask, Want(by="a", attempts=1))], asked={"a": 1}), stage)


async def test_an_unreported_cache_is_no_miss(stage: Stage) -> None:
    usage = {"prompt_tokens": 1500, "completion_tokens": 5}
    kind = Kind("unreported", a=[Rule(completion(usage=usage))], turns=[_FIRST, _STAYS])
    await play(kind, stage)
    assert "limpet_cached_tokens_total{" not in "\n".join(
        line for line in (await stage.metrics_text()).splitlines() if stage.provider("a") in line
    )
