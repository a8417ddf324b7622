"""Asking for the usage of a stream whose client did not, and not asking where that is refused."""

from typing import Final

import msgspec
from msgspec import Raw

from limpet_extproc.dialects.opener import ABSENT
from limpet_extproc.dialects.spans import Span, member_at, span_of
from limpet_extproc.dialects.text import decode
from limpet_extproc.request.splices import BRACE, NULL, AnyBody, BodyDraft, Splice


class _UsageOptions(msgspec.Struct, frozen=True, gc=False):
    include_usage: Raw = ABSENT


class _Optioned(msgspec.Struct, frozen=True, gc=False):
    stream_options: Raw = ABSENT


_STREAM_OPTIONS: Final = msgspec.json.Decoder(_UsageOptions)
_OPTIONED: Final = msgspec.json.Decoder(_Optioned)
_ASKED: Final = '"include_usage":true'
_OPTION: Final = f'"stream_options":{{{_ASKED}}}'
_NO: Final = (b"null", b"false")


def put_usage(draft: BodyDraft, body: AnyBody, stream_options: Span | None) -> bool:
    """Ask for usage, if the options are such that it can be; what is wrong in them is the provider's to refuse."""
    if stream_options is None:
        draft.added.append(_OPTION)
        return True
    begin, length = stream_options
    if body[begin] == NULL:
        draft.splices.append(Splice(begin, length, f"{{{_ASKED}}}"))
        return True
    if body[begin] != BRACE:
        return False
    written = bytes(body[begin : begin + length])
    fields, seen = decode(_STREAM_OPTIONS, written)
    if fields.include_usage is ABSENT:
        empty = not written[1:-1].strip()
        draft.splices.append(Splice(begin + 1, 0, _ASKED if empty else f"{_ASKED},"))
        return True
    if bytes(fields.include_usage) not in _NO:
        return False
    at = span_of(seen, fields.include_usage)
    draft.splices.append(Splice(begin + at.offset, at.length, "true"))
    return True


def cut_options(draft: BodyDraft, body: AnyBody) -> None:
    """Remove the options, whatever they are and however their name is spelled."""
    written = bytes(body)
    if b"stream_options" not in written and b"\\u" not in written:
        return
    fields, seen = decode(_OPTIONED, written)
    if fields.stream_options is not ABSENT:
        draft.cut.append(member_at(memoryview(seen), "stream_options", span_of(seen, fields.stream_options)))
