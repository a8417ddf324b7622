"""Keys that an error may not show, whatever they look like: the provider's own, and the client's."""

import json

import pytest
from tests.operator.publish.lua_world import LuaWorld, Reply

from limpet_extproc.contract.envoy import TRAIL_MESSAGE, TRAIL_METADATA

PLAIN, ODD, OF_CLIENT = "correcthorsebattery", "Horse/battery+staple==", "my-own-words-for-a-key"
HEAD = f":path /v1/chat/completions\nauthorization Bearer {OF_CLIENT}\nx-api-key \nuser-agent Python/{PLAIN}"
KEYS = (f"Bearer {PLAIN}", ODD)
_LUA = LuaWorld()
_JSON = {"content-type": "application/json"}
_SSE = {"content-type": "text/event-stream"}
_BEGUN = b'data: {"id":"c","choices":[{"index":0,"delta":{"content":"Hi"}}]}\n\n'

WRITTEN = [PLAIN, ODD, "Horse\\/battery+staple==", "Horse%2Fbattery%2Bstaple%3D%3D", OF_CLIENT]


def _error(key: str) -> bytes:
    return b'{"error":{"message":"No such key: %s. Sorry","code":"%s"}}' % (key.encode(), key.encode())


def _replies(key: str) -> dict[str, Reply]:
    error = _error(key)
    return {
        "error": Reply([error], "401", _JSON),
        "error in pieces": Reply([error[:30], error[30:]], "429", _JSON),
        "error in a good answer": Reply([error], "200", _JSON),
        "error of unknown length in a good answer": Reply([error[:30], error[30:]], "200", _JSON),
        "long error": Reply([error.ljust(100_000)], "400", _JSON),
        "event": Reply([_BEGUN, b"data: " + error + b"\n\n", b"data: [DONE]\n\n"], "200", _SSE),
        "event in pieces": Reply([_BEGUN, b"event: error\ndata: " + error[:40], error[40:] + b"\n\n"], "200", _SSE),
        "event without an end": Reply([_BEGUN, b"data: " + error], "200", _SSE),
    }


@pytest.mark.parametrize("how", _replies(""))
@pytest.mark.parametrize("key", WRITTEN)
def test_no_error_shows_a_key_that_was_sent(how: str, key: str) -> None:
    told = _LUA.answer(_replies(key)[how], keys=KEYS, head=HEAD)
    body = told.body.decode()
    assert key not in body
    noted = json.dumps(told.metadata[TRAIL_METADATA])
    assert "No such key: [key]. Sorry" in noted or "No such key: [key]. Sorry" in body
    assert key not in noted


def test_all_else_stays_byte_for_byte() -> None:
    error = _error("battery of horses")
    for reply in (Reply([error], "400", _JSON), Reply([_BEGUN, b"data: " + error + b"\n\n"], "200", _SSE)):
        assert _LUA.answer(reply, keys=KEYS, head=HEAD).body == b"".join(reply.chunks)


def test_short_values_are_parts_of_words_and_no_keys() -> None:
    error = _error("an ant")
    told = _LUA.answer(Reply([error], "400", _JSON), keys=("Bearer an", "-"), head="authorization ant")
    assert told.body == error


def test_a_key_takes_nothing_from_how_an_attempt_is_judged() -> None:
    """A key with a word that this program looks for says nothing of the provider."""
    told = _LUA.answer(Reply([_BEGUN], "200", _SSE), keys=("Bearer HEAD keeps_model translated",))
    assert told.body == _BEGUN
    assert TRAIL_MESSAGE not in str(told.metadata)
