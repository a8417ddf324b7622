"""Parts of messages as Anthropic's content blocks."""

import binascii
from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from limpet_extproc.translation.untranslatable import ABSENT, MessagesBlock, decoded, given, refuse


class ContentPart(msgspec.Struct, frozen=True, gc=False):
    """A part of a message's content, of whatever type."""

    type: str
    text: str | None = None
    refusal: str | None = None
    image_url: Raw = ABSENT
    file: Raw = ABSENT
    cache_control: Raw = ABSENT


class _Image(msgspec.Struct, frozen=True, gc=False):
    url: str


class _File(msgspec.Struct, frozen=True, gc=False):
    file_data: str | None = None
    file_id: str | None = None
    filename: str | None = None


Content = str | list[ContentPart] | None

_IMAGE: Final = msgspec.json.Decoder(_Image)
_FILE: Final = msgspec.json.Decoder(_File)
_DATA: Final = "data:"
_MAX_HEAD: Final = 256
"""Characters of a data: URL before its data."""
_IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_NAMES: Final = {"input_audio": "audio", "audio_url": "audio", "video_url": "video"}
_SPELLINGS: Final = {"image/jpg": "image/jpeg"}


class _DataUrl(NamedTuple):
    media_type: str
    """In lower case."""
    data: str
    """In base64."""


def blocks(content: Content, field: str, *, only_text: bool = False) -> Iterator[MessagesBlock]:
    """The blocks of a message. Texts that are empty or white space alone are left out: Anthropic takes none."""
    if isinstance(content, str):
        if content.strip():
            yield {"type": "text", "text": content}
        return
    for number, part in enumerate(content or ()):
        block = _block(part, f"{field}[{number}]")
        if block is None:
            continue
        if only_text and block["type"] != "text":
            refuse(f"{field}[{number}].type", "Anthropic takes images and files from users and tools alone")
        yield marked(block, part.cache_control)


def marked(block: MessagesBlock, cache_control: Raw) -> MessagesBlock:
    """The block with the client's breakpoint, if there is one."""
    return {**block, "cache_control": cache_control} if given(cache_control) else block


def _block(part: ContentPart, field: str) -> MessagesBlock | None:
    if part.type == "text" and part.text is None:
        refuse(f"{field}.text", "it is missing")
    if part.type in ("text", "refusal"):
        said = part.text or part.refusal
        return {"type": "text", "text": said} if said and said.strip() else None
    if part.type == "image_url":
        return {"type": "image", "source": _image(decoded(_IMAGE, part.image_url, f"{field}.image_url"), field)}
    if part.type != "file":
        what = _NAMES.get(part.type, f"parts of type '{part.type[:40]}'")
        refuse(f"{field}.type", f"Anthropic takes no {what}; parts may be text, image_url or file")
    return _document(decoded(_FILE, part.file, f"{field}.file"), f"{field}.file")


def _image(image: _Image, field: str) -> MessagesBlock:
    field = f"{field}.image_url.url"
    found = _data_url(image.url)
    if found is None:
        if image.url[:8].lower() == "https://":
            return {"type": "url", "url": image.url}
        refuse(field, "write an https URL, or a data: URL in base64")
    media_type = _SPELLINGS.get(found.media_type, found.media_type)
    if media_type not in _IMAGES:
        refuse(field, f"Anthropic takes images of {', '.join(_IMAGES)}")
    return {"type": "base64", "media_type": media_type, "data": _base64(found.data, field)}


def _document(file: _File, field: str) -> MessagesBlock:
    if file.file_id is not None:
        refuse(f"{field}.file_id", "a file at OpenAI; send its content as file_data")
    if file.file_data is None:
        refuse(f"{field}.file_data", "it is missing")
    found = _data_url(file.file_data)
    if found is None and file.file_data[: len(_DATA)].lower() == _DATA:
        refuse(f"{field}.file_data", "write a data: URL in base64")
    if found is not None and found.media_type != "application/pdf":
        refuse(f"{field}.file_data", "Anthropic takes files of application/pdf")
    data = _base64(found.data if found else file.file_data, f"{field}.file_data")
    title = {"title": file.filename} if file.filename else {}
    return {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": data},
        **title,
    }


def _data_url(url: str) -> _DataUrl | None:
    """What is in a data: URL; None if it is none, or not in base64."""
    comma = url.find(",", 0, _MAX_HEAD)
    head = url[: max(comma, 0)].lower()
    if not head.startswith(_DATA) or not head.endswith(";base64"):
        return None
    return _DataUrl(head[len(_DATA) :].partition(";")[0], url[comma + 1 :])


def _base64(data: str, field: str) -> str:
    """As it was written, but in one line."""
    if not _is_base64(data):
        data = "".join(data.split())
        if not _is_base64(data):
            refuse(field, "it is empty or no base64")
    return data


def _is_base64(data: str) -> bool:
    try:
        return bool(binascii.a2b_base64(data, strict_mode=True))
    except ValueError:
        return False
