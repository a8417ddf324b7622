"""The same APIs where a file is sent along (RFC 7578): the form is read where it lies, however large its files are."""

import re
from collections.abc import Callable
from email.message import Message
from typing import Final, NamedTuple

from xxhash import xxh3_128_digest

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.dialects.openai_errors import openai_error
from limpet_extproc.dialects.port import BadRequestError, LastBlock, ParsedRequest, Refusal
from limpet_extproc.dialects.spans import Body, Span
from limpet_extproc.dialects.text import MAX_NAME_CHARS

FormBody = Body | memoryview

MAX_PARTS: Final = 256
_MAX_HEAD_BYTES: Final = 1 << 14
"""Of the headers of one part."""
_PIECE_BYTES: Final = 1 << 18
_MAX_BOUNDARY_BYTES: Final = 70
"""RFC 2046, section 5.1.1."""

_FORM: Final = re.compile(r"\s*multipart/form-data\s*(?:;|$)", re.IGNORECASE)
_BOUNDARY: Final = re.compile(r"boundary\s*\*?\d*\*?\s*=", re.IGNORECASE)
_FOLDED: Final = re.compile(rb"\n[ \t]")
_DISPOSITION: Final = re.compile(rb"(?im)^content-disposition[ \t]*:[ \t]*form-data(.*)$")
_ENCODING: Final = re.compile(rb"(?im)^content-transfer-encoding[ \t]*:[ \t]*+(?!(?:7bit|8bit|binary)[ \t]*$)")
_PARAMETER: Final = re.compile(rb';[ \t]*([^\s=;"]+)[ \t]*=[ \t]*("(?:\\.|[^"\\])*"|[^\s;"]*)[ \t]*')


class FormMember(NamedTuple):
    """One part of a form."""

    name: bytes
    is_file: bool
    encoded: bool
    """Whether its text is encoded once more, as mail has it."""
    content: Span


class Form:
    """`POST /v1/audio/transcriptions` and others with a form; one value for each boundary."""

    name: Final = "form"

    def __init__(self, content_type: str, error: Callable[[Refusal], bytes] = openai_error) -> None:
        """`content_type` is the request's header, for which `is_form` holds; `error`: see `StatelessJson`."""
        self.content_type: Final = content_type
        self._error = error

    def parse(self, body: FormBody, asked: Asked = NOWHERE) -> ParsedRequest:
        """See `Dialect`. Two requests open alike if they are the same, byte for byte."""
        texts: dict[bytes, Span] = {}
        view = memoryview(body)
        for part in parts(view, boundary_of(self.content_type)):
            if part.name == b"model":
                _require_plain(part, texts)
            if not part.is_file:
                texts[part.name] = part.content
        written = _model(view, texts[b"model"]) if b"model" in texts else ""
        stream, user = _short(view, texts.get(b"stream")), _short(view, texts.get(b"user"))
        return ParsedRequest(
            model=asked.model or written,
            fingerprint=xxh3_128_digest(view),
            user=user.decode("utf-8", "replace") or None,
            model_span=texts.get(b"model", Span(0, 0)),
            model_form="plain",
            model_differs=written != "" and asked.model not in ("", written),
            stream=stream.strip().lower() in (b"true", b"1"),
        )

    def last_blocks(self, body: Body) -> tuple[LastBlock, ...]:
        """See `Dialect`: there is no prompt to mark."""
        return ()

    def error_body(self, refusal: Refusal) -> bytes:
        """See `Dialect`."""
        return self._error(refusal)


def is_form(content_type: str) -> bool:
    """Whether a body of this type is a form with files."""
    return _FORM.match(content_type) is not None


def boundary_of(content_type: str) -> bytes:
    """What stands between the parts. Raises BadRequestError."""
    message = Message()
    message["content-type"] = content_type
    found = message.get_boundary()
    if (
        len(_BOUNDARY.findall(content_type)) != 1
        or not found
        or not found.isascii()
        or len(found) > _MAX_BOUNDARY_BYTES
        or not found.isprintable()
    ):
        raise BadRequestError(
            None,
            "the header 'content-type' does not name one boundary that a form may have: "
            "leave that header to your HTTP library, which writes the form",
        )
    return found.encode()


def parts(view: memoryview, boundary: bytes) -> list[FormMember]:
    """All parts of a form. Raises BadRequestError for one that two readers could take for different ones."""
    between = b"\r\n--" + boundary
    if bytes(view[: len(between) - 2]) != between[2:]:
        raise _malformed(f"it does not begin with its boundary, '--{boundary.decode()}'")
    found: list[FormMember] = []
    at = len(between) - 2
    while bytes(view[at : at + 2]) != b"--":
        if len(found) >= MAX_PARTS:
            raise _malformed(f"it has more than {MAX_PARTS} parts")
        head = _after_line(view, at)
        body, name_at = _end_of_head(view, head), len(found)
        end = _find(view, between, body - 2)
        if end < 0:
            raise _malformed("it ends in the middle of a part")
        found.append(_part(bytes(view[head:body]), Span(body, max(0, end - body)), name_at))
        at = end + len(between)
    return found


def _after_line(view: memoryview, at: int) -> int:
    rest = bytes(view[at : at + _MAX_HEAD_BYTES])
    blank = len(rest) - len(rest.lstrip(b" \t"))
    if rest[blank : blank + 2] != b"\r\n":
        raise _malformed("its boundary stands in the middle of a line, or its end is missing")
    return at + blank + 2


def _end_of_head(view: memoryview, head: int) -> int:
    # A part without headers begins with the empty line.
    end = bytes(view[head - 2 : head + _MAX_HEAD_BYTES]).find(b"\r\n\r\n")
    if end < 0:
        raise _malformed(f"the headers of a part do not end, or are longer than {_MAX_HEAD_BYTES} bytes")
    return head - 2 + end + 4


def _part(head: bytes, content: Span, position: int) -> FormMember:
    lines = head.replace(b"\r\n", b"\n")
    dispositions = _DISPOSITION.findall(lines)
    if len(dispositions) != 1 or _FOLDED.search(lines) or b"\r" in lines or b"\n" in head.replace(b"\r\n", b""):
        raise _malformed(f"part {position} has not one line 'Content-Disposition: form-data; name=…'")
    parameters: dict[bytes, bytes] = {}
    written, at = dispositions[0].strip(b" \t"), 0
    while found := _PARAMETER.match(written, at):
        key, value = found[1].lower(), found[2]
        if key in parameters or key == b"name*" or (key == b"name" and b"\\" in value):
            break
        parameters[key] = value.strip(b'"')
        at = found.end()
    if at != len(written) or b"name" not in parameters:
        raise _malformed(f"part {position} has no readable name in its 'Content-Disposition'")
    is_file = b"filename" in parameters or b"filename*" in parameters
    return FormMember(parameters[b"name"], is_file, _ENCODING.search(lines) is not None, content)


def _require_plain(part: FormMember, before: dict[bytes, Span]) -> None:
    if part.name in before:
        raise BadRequestError("model", "the form has the part 'model' more than once")
    if part.is_file or part.encoded:
        raise BadRequestError("model", "the part 'model' is sent as a file or encoded: send its name as plain text")


def _model(view: memoryview, span: Span) -> str:
    if not span.length:
        raise BadRequestError("model", "'model' is empty; name a model, GET /v1/models lists them")
    text = bytes(view[span.offset : span.offset + min(span.length, 4 * MAX_NAME_CHARS + 1)])
    try:
        found = text.decode()
    except UnicodeDecodeError as error:
        raise BadRequestError("model", "'model' is not UTF-8, or longer than any name") from error
    if len(found) > MAX_NAME_CHARS:
        raise BadRequestError("model", f"'model' is longer than any name; {MAX_NAME_CHARS} characters are the most")
    return found


def _short(view: memoryview, span: Span | None) -> bytes:
    return b"" if span is None or span.length > MAX_NAME_CHARS else bytes(view[span.offset : span.offset + span.length])


def _find(view: memoryview, text: bytes, begin: int) -> int:
    """Where `text` next stands, from `begin` on; -1: nowhere. By pieces, as a view cannot be searched as fast."""
    for start in range(begin, len(view), _PIECE_BYTES):
        found = bytes(view[start : start + _PIECE_BYTES + len(text) - 1]).find(text)
        if found >= 0:
            return start + found
    return -1


def _malformed(why: str) -> BadRequestError:
    return BadRequestError(None, f"the body is not the form that its 'content-type' announces: {why}", "invalid_form")
