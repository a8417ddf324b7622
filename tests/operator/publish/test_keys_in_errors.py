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

WRITTEN = [
    PLAIN,
    ODD,
    OF_CLIENT,
    ODD.upper(),
    OF_CLIENT.title(),
    "Horse\\/battery+staple==",
    "Horse%2Fbattery%2Bstaple%3D%3D",
    "Horse%2fbattery%2bstaple%3d%3d",
    "Horse/battery+staple\\u003d\\u003D",  # as Gson writes it
    "\\u0048orse\\\\/battery\\\\u002bstaple==",  # in JSON within JSON
]


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
        "long error in pieces": Reply([error[:30], error[30:].ljust(20_000), b" " * 20_000], "200", _JSON),
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


@pytest.mark.parametrize(
    ("key", "text", "shown"),
    [
        ("password", "password? passwords, Password, (password)", "[key]? passwords, Password, ([key])"),
        ("k3y5", "k3y5, monk3y5, K3Y5\\nk3y5", "[key], monk3y5, K3Y5\\n[key]"),
        ("back\\slashes-of-a-key", "back\\\\slashes-of-a-key", "[key]"),
        ("per%41cent-of-a-key", "per%41cent-of-a-key", "[key]"),
        ("abcabcabcabcabcabcabc", "abcabcabcabcabcabcabcabcabc", "[key]abcabc"),
    ],
)
def test_a_short_key_is_blanked_where_it_is_a_word(key: str, text: str, shown: str) -> None:
    told = _LUA.answer(Reply([_error(text)], "400", _JSON), keys=(f"Bearer {key}",))
    assert told.body == _error(shown)


@pytest.mark.parametrize(
    "pieces",
    [
        [_BEGUN, f": refused {PLAIN}\n\n".encode(), _BEGUN],
        [_BEGUN, f"data: refused {PLAIN}\n\n".encode()],
        [f"refused {PLAIN[:5]}".encode(), PLAIN[5:].encode()],
        [f'{{"detail": "refused {PLAIN[:5]}'.encode(), f'{PLAIN[5:]}"}}'.encode()],
        [f'{{"detail": "refused {PLAIN}"'.encode(), b" " * 20_000, b"}"],
        [_BEGUN, b'data: {"error":{"message":"' + b"z" * 1_050_000, f'{PLAIN}"}}}}\n\n'.encode()],
    ],
    ids=["comment", "line", "text", "object", "long object", "long line"],
)
def test_what_is_no_answer_shows_no_key(pieces: list[bytes]) -> None:
    for kind in (_JSON, _SSE):
        body = _LUA.answer(Reply(pieces, "200", kind), keys=KEYS, head=HEAD).body
        assert body == b"".join(pieces).replace(PLAIN.encode(), b"[key]")


def test_an_answer_may_have_the_words_of_a_key() -> None:
    pieces = [_BEGUN, _BEGUN.replace(b"Hi", PLAIN.encode())]
    assert _LUA.answer(Reply(pieces, "200", _SSE), keys=KEYS, head=HEAD).body == b"".join(pieces)


@pytest.mark.parametrize("status", ["400", "401", "500"])
def test_no_header_of_an_error_shows_a_key(status: str) -> None:
    headers = {**_JSON, "x-asked-with": f"Bearer {PLAIN}", "www-authenticate": f'Bearer realm="{OF_CLIENT}"'}
    told = _LUA.answer(Reply([_error("x")], status, headers), keys=KEYS, head=HEAD)
    assert told.headers["x-asked-with"] == "Bearer [key]"
    assert told.headers.get("www-authenticate", "[key]").count("[key]") == 1
    assert OF_CLIENT not in str(told.headers)


def test_another_key_at_the_beginning_of_a_long_error_is_blanked() -> None:
    told = _LUA.answer(Reply([_error("sk-abcdef0123456789").ljust(100_000)], "400", _JSON), keys=KEYS)
    assert told.body == _error("[key]").replace(b"[key].", b"[key]").ljust(len(told.body))
    assert len(told.body) > 99_900


def test_a_key_takes_nothing_from_how_an_attempt_is_judged() -> None:
    """A key with a word that this program looks for says nothing of the provider."""
    told = _LUA.answer(Reply([_BEGUN], "200", _SSE), keys=("Bearer HEAD keeps_model translated",))
    assert told.body == _BEGUN
    assert TRAIL_MESSAGE not in str(told.metadata)
