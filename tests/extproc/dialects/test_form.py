"""What is read of a form with files, and which forms two readers could take for different ones."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.dialects.form import MAX_PARTS, Form, boundary_of, is_form
from limpet_extproc.dialects.port import BadRequestError, ParsedRequest

BOUNDARY = "----WebKitFormBoundary7MA4YWxk"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"
FILE = 'name="file"; filename="a.mp3"'


def form(*parts: tuple[str, bytes], boundary: str = BOUNDARY) -> bytes:
    between = f"--{boundary}".encode()
    each = (
        between + b"\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"
        for disposition, content in parts
    )
    return b"".join(each) + between + b"--\r\n"


def parsed(body: bytes | memoryview, asked: Asked = NOWHERE) -> ParsedRequest:
    return Form(TYPE).parse(body, asked)


@pytest.mark.parametrize(
    "parts",
    [
        [('name="model"', b"whisper"), (FILE, b"sound")],
        [(FILE, b"sound"), ('name="model"', b"whisper")],
        [(FILE, b"x" * (1 << 20)), ("name=model", b"whisper")],
        [(FILE, b'\r\n--\r\n------WebKitFormBoundary name="model"\r\n\r\nother\r\n'), ('name="model"', b"whisper")],
        [('name="file"; filename="name=model; name=\\"model\\""', b"other"), ('name="model"', b"whisper")],
        [('name="prompt"', b""), ('name="model"', b"whisper")],
    ],
    ids=["first", "after the file", "after a large file", "like one in the file", "like one in a name", "empty part"],
)
def test_the_model_is_found_where_it_stands(parts: list[tuple[str, bytes]]) -> None:
    body = form(*parts)
    request = parsed(memoryview(body))
    assert (request.model, request.model_form) == ("whisper", "plain")
    assert body[request.model_span.offset :][: request.model_span.length] == b"whisper"


@given(st.binary(max_size=200), st.integers(0, 200))
def test_whatever_a_file_holds_the_model_is_the_part_of_that_name(content: bytes, pad: int) -> None:
    # A boundary that stands nowhere in the content, which is what a client has to choose.
    request = parsed(form((FILE, b"\r\n" * pad + content), ('name="model"', b"whisper")))
    assert request.model == "whisper"


@given(st.data())
def test_a_form_that_was_cut_or_changed_is_read_or_explained(data: st.DataObject) -> None:
    body = bytearray(form((FILE, b"sound"), ('name="model"', b"whisper"), ('name="user"', b"u")))
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(body)))
    with suppress(BadRequestError):
        parsed(bytes(body[:end]))


def test_short_parts_are_read_as_fields() -> None:
    request = parsed(form(('name="model"', b"m"), ('name="stream"', b"true"), ('name="user"', b"u"), (FILE, b"")))
    assert (request.stream, request.user) == (True, "u")


def test_a_form_without_a_model_is_one_of_the_path() -> None:
    request = parsed(form((FILE, b"sound")), Asked("/audio/transcriptions", "deployed"))
    assert (request.model, request.model_span.length) == ("deployed", 0)
    assert parsed(form((FILE, b"sound"))).model == ""


_MODEL = 'name="model"'


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        (b"", None, "does not begin with its boundary"),
        (b'{"model":"m"}', None, "does not begin with its boundary"),
        (b"preamble\r\n" + form((_MODEL, b"m")), None, "does not begin with its boundary"),
        (form((_MODEL, b"m"))[:-6], None, "ends in the middle"),
        (form((_MODEL, b"m")).replace(b"--\r\n", b"\r\n"), None, "do not end"),
        (form((FILE, f"\r\n--{BOUNDARY}x".encode()), (_MODEL, b"m")), None, "in the middle of a line"),
        (form((_MODEL, b"m"), (_MODEL, b"m")), "model", "more than once"),
        (form((_MODEL + '; filename="m"', b"m")), "model", "as a file"),
        (form((_MODEL + "\r\nContent-Transfer-Encoding: base64", b"bQ==")), "model", "encoded"),
        (form((_MODEL, b"")), "model", "is empty"),
        (form((_MODEL, b"m" * 300)), "model", "longer than any name"),
        (form((_MODEL, b"\xff")), "model", "not UTF-8"),
        (form(('x="model"', b"m")), None, "no readable name"),
        (form(('name="mod\\el"', b"m")), None, "no readable name"),
        (form(('name="a"; name="model"', b"m")), None, "no readable name"),
        (form(("name*=utf-8''model", b"m")), None, "no readable name"),
        (form((_MODEL + '\nX: "', b"m")), None, "has not one line"),
        (form((_MODEL + '\r\n ; filename="m"', b"m")), None, "has not one line"),
        (form((_MODEL + "\r\nContent-Disposition: form-data; name=x", b"m")), None, "has not one line"),
        (form(*[('name="a"', b"")] * (MAX_PARTS + 1)), None, f"more than {MAX_PARTS} parts"),
        (form((_MODEL + "\r\nX: " + "y" * 20_000, b"m")), None, "headers of a part do not end"),
    ],
)
def test_a_bad_form_is_explained(body: bytes, param: str | None, message: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        parsed(body)
    assert caught.value.param == param
    assert message in caught.value.message


def test_a_plain_transfer_encoding_changes_nothing() -> None:
    assert parsed(form((_MODEL + "\r\nContent-Transfer-Encoding: 8bit", b"m"))).model == "m"


@pytest.mark.parametrize(
    ("content_type", "boundary"),
    [
        ("multipart/form-data; boundary=x", b"x"),
        ('Multipart/Form-Data; charset=utf-8; boundary="a b:c"', b"a b:c"),
        ("multipart/form-data", None),
        ("multipart/form-data; boundary=", None),
        ("multipart/form-data; boundary=x; boundary=y", None),
        ("multipart/form-data; boundary=x; Boundary*=utf-8''y", None),
        ("multipart/form-data; boundary=" + "x" * 71, None),
        ("multipart/form-data; boundary=é", None),
    ],
)
def test_the_boundary_is_what_the_header_says(content_type: str, boundary: bytes | None) -> None:
    assert is_form(content_type)
    if boundary is None:
        with pytest.raises(BadRequestError, match="does not name one boundary"):
            boundary_of(content_type)
    else:
        assert boundary_of(content_type) == boundary


@pytest.mark.parametrize(
    "content_type", ["", "application/json", "multipart/mixed; boundary=x", "x multipart/form-data"]
)
def test_other_types_are_no_forms(content_type: str) -> None:
    assert not is_form(content_type)
