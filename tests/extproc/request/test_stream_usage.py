"""Asking for a stream's usage in whatever options the client has written."""

import pytest
from tests.extproc.splicing import spliced

from limpet_extproc.dialects.spans import Span
from limpet_extproc.request.splices import BodyDraft
from limpet_extproc.request.stream_usage import put_usage


def asked(options: str | None) -> str | None:
    """The options that the provider gets; None: those that the client wrote."""
    body = f'{{"a":1,"stream_options":{options}}}'.encode() if options else b'{"a":1}'
    draft = BodyDraft()
    at = body.index(b":", 8) + 1 if options else 0
    added = put_usage(draft, body, Span(at, len(body) - 1 - at) if options else None)
    got = spliced(body, draft.done(body)).decode()
    assert added == (got != body.decode())
    return got if added else None


@pytest.mark.parametrize(
    ("options", "sent"),
    [
        (None, '{"stream_options":{"include_usage":true},"a":1}'),
        ("null", '{"a":1,"stream_options":{"include_usage":true}}'),
        ("{}", '{"a":1,"stream_options":{"include_usage":true}}'),
        ("{ \n}", '{"a":1,"stream_options":{"include_usage":true \n}}'),
        ('{"x": "}"}', '{"a":1,"stream_options":{"include_usage":true,"x": "}"}}'),
        ('{"include_usage": false}', '{"a":1,"stream_options":{"include_usage": true}}'),
        ('{"x":1,"include\\u005fusage":null }', '{"a":1,"stream_options":{"x":1,"include\\u005fusage":true }}'),
        ('{"x":"\\ud83e","include_usage":null}', '{"a":1,"stream_options":{"x":"\\ud83e","include_usage":true}}'),
    ],
)
def test_usage_is_asked_for(options: str | None, sent: str) -> None:
    assert asked(options) == sent


@pytest.mark.parametrize("options", ['"all"', "7", "[]", "true", '{"include_usage":"yes"}', '{"include_usage":{}}'])
def test_options_of_a_wrong_shape_are_left_to_the_provider(options: str) -> None:
    assert asked(options) is None
