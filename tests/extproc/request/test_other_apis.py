"""Requests of APIs without conversations, and those that ask about a turn: where they go and what they leave behind."""

import json
from typing import Any

import msgspec
import pytest
from tests.extproc.conftest import MODEL, Make
from tests.extproc.request.gateway import NOW, Gateway, seller

from limpet_extproc.contract.catalog import Model
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.memory import Warm

EMBED = {"model": "embed", "input": "x"}
_FILE = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nsound\r\n--x--\r\n'
_FORM = b'--x\r\nContent-Disposition: form-data; name="model"\r\n\r\n%s\r\n--x--\r\n'


async def test_an_embedding_is_spread_and_leaves_nothing_behind(make: Make) -> None:
    gateway = Gateway(
        make.snapshot(*(seller(make, name, endpoints=("embeddings",)) for name in "ab"), make.provider("c"))
    )
    routings = [await gateway.route("/v1/embeddings", EMBED) for _ in range(30)]
    assert {routing.decision.reason for routing in routings} == {"stateless.spread"}
    assert {routing.decision.order[0] for routing in routings} == {"a", "b"}
    record = routings[0].record
    assert (record.learn, record.api, record.kind, record.identified_by) == (False, "embeddings", "stateless", "")
    assert record.output_tokens == 0
    assert len(gateway.memory) == 0


async def test_requests_are_told_apart_by_their_bodies_alone(make: Make) -> None:
    gateway = Gateway(make.snapshot(seller(make, "a", endpoints=("embeddings",))))
    one, same, other = [
        (await gateway.route("/v1/embeddings", {**EMBED, "input": text}, **{"x-session-id": "s"})).record.key
        for text in ("x", "x", "y")
    ]
    assert one == same != other


@pytest.mark.parametrize(
    ("models", "body", "status", "message"),
    [
        (("mod",), {"input": "x"}, 200, ""),
        (("mod", "mod-2"), {"input": "x"}, 400, "'model' is missing. Available models: mod, mod-2."),
        ((), {"input": "x"}, 404, "No model is served here by /v1/moderations"),
        (("mod",), {"model": "other", "input": "x"}, 404, "Available models: mod."),
    ],
)
async def test_a_model_need_not_be_named_where_only_one_is_served(
    make: Make, models: tuple[str, ...], body: Any, status: int, message: str
) -> None:
    sellers = [seller(make, "a", *models, endpoints=("moderations",))] if models else [make.provider("b")]
    answer = await Gateway(make.snapshot(*sellers)).answer("/v1/moderations", body)
    if isinstance(answer, Refusal):
        assert (answer.status, answer.param) == (status, "model")
        assert message in answer.message
    else:
        assert (status, answer.record.model) == (200, "mod")


async def test_a_form_goes_by_the_model_in_it(make: Make) -> None:
    gateway = Gateway(make.snapshot(seller(make, "a", "whisper", endpoints=("audio",))))
    headers = {"content-type": "multipart/form-data; boundary=x"}
    routing = await gateway.route("/v1/audio/transcriptions", _FORM % b"whisper", **headers)
    assert (routing.decision.order, routing.record.model) == (("a",), "whisper")


@pytest.mark.parametrize(
    ("path", "body", "sent"),
    [
        ("/v1/audio/speech", b'{"model":"whisper"}', b'{"model":<True>}'),
        ("/v1/audio/speech", b' {"input":"x"}', b' {"model":"big-whisper","input":"x"}'),
        ("/openai/deployments/whisper/audio/speech", b'{"input":"x"}', b'{"model":"big-whisper","input":"x"}'),
        (
            "/openai/deployments/whisper/audio/speech",
            b'{"model":"any","input":"x"}',
            b'{"model":"big-whisper","input":"x"}',
        ),
        (
            "/openai/deployments/whisper/audio/speech",
            b'{"input":"x","model":null}',
            b'{"input":"x","model":"big-whisper"}',
        ),
        ("/v1/audio/transcriptions", _FORM % b"whisper", _FORM % b"big-whisper"),
        ("/openai/deployments/whisper/audio/transcriptions", _FORM % b"any", _FORM % b"big-whisper"),
        ("/openai/deployments/whisper/audio/transcriptions", _FILE, _FORM[:-7] % b"big-whisper" + _FILE),
    ],
    ids=[
        *("named", "the only one", "in the path", "another in the path", "null, and in the path", "in a form"),
        *("another in a form", "in the path of a form"),
    ],
)
async def test_a_provider_gets_its_own_name_of_the_model(make: Make, path: str, body: bytes, sent: bytes) -> None:
    provider = make.provider("a", endpoints=("audio",))
    provider = msgspec.structs.replace(provider, models=(Model("whisper", "big-whisper"),))
    headers = {"content-type": "multipart/form-data; boundary=x"} if body.startswith(b"--") else {}
    routing = await Gateway(make.snapshot(provider)).route(path, body, **headers)
    changed = body
    for splice in reversed(routing.edits.of("a") if routing.edits else ()):
        text = b"<True>" if splice.text is True else splice.text.encode()
        changed = changed[: splice.offset] + text + changed[splice.offset + splice.length :]
    assert changed == sent


@pytest.mark.parametrize("written", ["other", "", "m"])
async def test_the_deployment_of_the_path_counts_where_no_provider_calls_it_otherwise(make: Make, written: str) -> None:
    routing = await Gateway(make.snapshot(make.provider("a"))).route(
        f"/openai/deployments/{MODEL}/chat/completions",
        {"model": written, "messages": [{"role": "user", "content": "Hi"}]},
    )
    assert routing.record.model == MODEL
    assert routing.edits is not None
    assert [splice.text for splice in routing.edits.of("a")] == [json.dumps(MODEL)]


async def test_a_question_about_a_turn_goes_where_the_turn_goes_and_teaches_nothing(make: Make) -> None:
    asking = ("OpenAIResponses",)
    gateway = Gateway(make.snapshot(*(make.provider(name, dialects=asking) for name in "abcd")))
    body = {"model": MODEL, "input": "Hello"}
    new = await gateway.route("/v1/responses/input_tokens", body)
    assert (new.record.learn, new.record.kind, len(gateway.memory)) == (False, "counting", 0)
    turn = await gateway.route("/v1/responses", body)
    assert turn.decision.order == new.decision.order
    last = turn.decision.order[-1]
    gateway.memory.remember(turn.record.key, Warm(last, NOW + 60), 4, NOW)
    warm = await gateway.route("/v1/responses/input_tokens", body)
    assert (warm.decision.reason, warm.decision.order[0]) == ("sticky.hit", last)
