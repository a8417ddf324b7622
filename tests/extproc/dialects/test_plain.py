"""An ordinary request is read in one pass, and comes to what the careful reading finds in it."""

import json
from types import ModuleType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from limpet_extproc.dialects import anthropic_messages, openai_chat
from limpet_extproc.dialects.port import BadRequestError

_HELLO = b'[{"role":"user","content":"hello"}]'

_TEXTS = st.sampled_from(["", "m", "model", '"model"', '{"model":"x"}', "user", "\\", "é", "}", "]"])
_VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1, 1 << 60), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(_TEXTS, inner, max_size=2)),
    max_leaves=4,
)
_MESSAGES = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "user", "assistant"]), "content": _VALUES}), max_size=3
)
_KEYS = st.sampled_from(
    [
        "stream",
        "user",
        "prompt_cache_key",
        "max_tokens",
        "metadata",
        "tools",
        "Model",
        "session_id",
        "system",
        "service_tier",
    ]
)
_USER_IDS = st.sampled_from(["u", "user_1_account__session_0-a", '{"session_id":"s"}', '{"session_id":1}', "{", ""])
_METADATA = st.fixed_dictionaries({"user_id": st.one_of(_USER_IDS, _VALUES)})
_MEMBERS = st.one_of(
    st.tuples(st.just("model"), _VALUES),
    st.tuples(st.just("messages"), _MESSAGES),
    st.tuples(st.just("metadata"), _METADATA),
    st.tuples(_KEYS, _VALUES),
)
_DIALECTS = pytest.mark.parametrize("dialect", [openai_chat, anthropic_messages], ids=["chat", "messages"])


@st.composite
def _bodies(draw: st.DrawFn) -> bytes:
    members = [("model", draw(_TEXTS)), ("messages", draw(_MESSAGES)), *draw(st.lists(_MEMBERS, max_size=3))]
    written = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in draw(st.permutations(members))]
    return ("{" + ", ".join(written) + "}").encode()


@_DIALECTS
@given(body=_bodies())
@example(body=b'{"messages": [{"role": "user", "content": "x"}], "x": {"model": "y"}, "model": "m"}')
@example(body=b'{"messages": [{"role": "user", "content": "x"}], "model": "m", "x": {"model": "y"}}')
def test_what_is_ordinary_comes_to_the_same_when_it_is_read_carefully(dialect: ModuleType, body: bytes) -> None:
    try:
        ordinary = dialect.parse_plain(body)
    except BadRequestError:
        with pytest.raises(BadRequestError):
            dialect.parse_carefully(body)
        return
    if ordinary is not None:
        assert ordinary == dialect.parse_carefully(body)


@_DIALECTS
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":%s}' % _HELLO,
        b' { "model" : "m" , "messages" : %s } ' % _HELLO,
        b'{"messages":%s,"model":"m","temperature":0.2}' % _HELLO,
        b'{"messages":%s,"model":"m","stream":true,"stream_options":{"include_usage":true},"stop":["a"]}' % _HELLO,
        b'{"mod\\u0065l":"m","messages":%s,"x":{"model":"n"}}' % _HELLO,
        b'{"x":1,"messages":%s,"y":{"model":"n"},"model":"m","tools":[{"a":{"b":1}}]}' % _HELLO,
        b'{"model":"m","stream":true,"max_tokens":20,"user":"u","messages":%s,"tools":[{"model":1}]}' % _HELLO,
    ],
    ids=["model first", "white space", "as the SDK writes", "as the SDK streams", "escaped", "in the middle", "tools"],
)
def test_what_sdks_send_is_ordinary(dialect: ModuleType, body: bytes) -> None:
    plain = dialect.parse_plain(body)
    assert plain is not None
    assert plain == dialect.parse_carefully(body)
    assert body[plain.model_span.offset :][: plain.model_span.length] == b'"m"'


_MANY = b"[" + b",".join([_HELLO[1:-1]] * 40) + b"]"
_LONG = b',"z":[{"x":"' + b"z" * 600 + b'"}]'
_OTHERS = [
    b"",
    b',"x":{"model":"n"}',
    b',"x":"model"',
    b',"x":["model",{"model":"n"}]',
    b',"x":"\\"model\\":"',
    b',"x\\"model":"n"',
    b',"x\\"model":{"y":"z"},"x":[{"model":"n"}]',
]


@_DIALECTS
@pytest.mark.parametrize("messages", [_HELLO, _MANY], ids=["one message", "many"])
@pytest.mark.parametrize("after", _OTHERS)
@pytest.mark.parametrize("before", _OTHERS)
def test_the_name_of_the_model_is_found_wherever_it_stands(
    dialect: ModuleType, before: bytes, after: bytes, messages: bytes
) -> None:
    rest = (messages, before, b',"model":"m"', after, _LONG)
    for body in (
        b'{"messages":%s%s%s%s%s}' % rest,
        b'{"y":1%s%s,"messages":%s%s%s}' % (*rest[1:3], messages, *rest[3:]),
    ):
        plain = dialect.parse_plain(body)
        assert plain is not None
        assert plain == dialect.parse_carefully(body)


@_DIALECTS
@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","messages":%s,"model":"m"}' % _HELLO,
        b'{"messages":[],"model":"m","messages":%s}' % _HELLO,
        b'{"model":"m","messages":%s,"Model":"m"}' % _HELLO,
        b'{"model":"m","messages":%s,"session_id":"s"}' % _HELLO,
        b'{"model":"m","messages":%s,"user":"%s","metadata":{"user_id":"%s"}}' % (_HELLO, b"u" * 300, b"u" * 300),
        b'{"model":"m","messages":%s,"max_tokens":99999999999999999999}' % _HELLO,
        b'{"model":"m","messages":"x"}',
        b"[]",
        b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % (b"x" * 140_000),
    ],
)
def test_the_rest_is_left_to_the_careful_reading(dialect: ModuleType, body: bytes) -> None:
    assert dialect.parse_plain(body) is None
