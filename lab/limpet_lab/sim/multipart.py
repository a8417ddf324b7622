"""The parts of a multipart form, from a body that has been read."""

import re
from collections.abc import Iterator
from email.parser import BytesHeaderParser
from typing import NamedTuple

from limpet_lab.sim.refusal import RefusalError


class FormPart(NamedTuple):
    """One field."""

    name: str
    content: bytes
    filename: str | None


def parts_of(content_type: str, data: bytes) -> Iterator[FormPart]:
    """In the order of the body. Raises RefusalError with status 400."""
    found = re.match(r'multipart/form-data;.*boundary="?([^";]+)', content_type)
    if found is None:
        raise RefusalError(400, "The body must be multipart/form-data.")
    # What is before the first boundary and after the last one is no part.
    pieces = (b"\r\n" + data).split(b"\r\n--" + found[1].encode())
    if len(pieces) < 3 or not pieces[-1].startswith(b"--"):
        raise RefusalError(400, "The body is not complete: its last boundary is missing.")
    for piece in pieces[1:-1]:
        head, _, content = piece.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = BytesHeaderParser().parsebytes(head)
        name = headers.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            raise RefusalError(400, "A part of the form has no name.")
        yield FormPart(name, content, headers.get_filename())
