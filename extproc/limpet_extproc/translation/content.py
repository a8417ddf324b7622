"""Parts of messages as Anthropic's content blocks."""

import re
from collections.abc import Iterator
from typing import Final

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
_DATA_URL: Final = re.compile(r"data:(?P<type>[^;,]*)(?:;[^;,]*?)*?;base64,", re.IGNORECASE)
_IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_NAMES: Final = {"input_audio": "audio", "audio_url": "audio", "video_url": "video"}
_SPELLINGS: Final = {"image/jpg": "image/jpeg"}


def blocks(content: Content, field: str) -> Iterator[MessagesBlock]:
    """The blocks of a message. Empty texts are left out, as Anthropic takes none."""
    if isinstance(content, str):
        if content:
            yield {"type": "text", "text": content}
        return
    for number, part in enumerate(content or ()):
        block = _block(part, f"{field}[{number}]")
        if block is not None:
            yield marked(block, part.cache_control)


def marked(block: MessagesBlock, cache_control: Raw) -> MessagesBlock:
    """The block with the client's breakpoint, if there is one."""
    return {**block, "cache_control": cache_control} if given(cache_control) else block


def _block(part: ContentPart, field: str) -> MessagesBlock | None:
    if part.type == "text" and part.text is None:
        refuse(f"{field}.text", "it is missing")
    if part.type in ("text", "refusal"):
        said = part.text or part.refusal
        return {"type": "text", "text": said} if said else None
    if part.type == "image_url":
        return {"type": "image", "source": _image(decoded(_IMAGE, part.image_url, f"{field}.image_url"), field)}
    if part.type != "file":
        what = _NAMES.get(part.type, f"parts of type '{part.type[:40]}'")
        refuse(f"{field}.type", f"Anthropic takes no {what}; parts may be text, image_url or file")
    return _document(decoded(_FILE, part.file, f"{field}.file"), f"{field}.file")


def _image(image: _Image, field: str) -> MessagesBlock:
    found = _DATA_URL.match(image.url)
    if found is None:
        if image.url[:8].lower().startswith(("https://", "http://")):
            return {"type": "url", "url": image.url}
        refuse(f"{field}.image_url.url", "write an http(s) URL, or a data: URL in base64")
    media_type = found["type"].lower()
    media_type = _SPELLINGS.get(media_type, media_type)
    if media_type not in _IMAGES:
        refuse(f"{field}.image_url.url", f"Anthropic takes images of {', '.join(_IMAGES)}")
    return {"type": "base64", "media_type": media_type, "data": image.url[found.end() :]}


def _document(file: _File, field: str) -> MessagesBlock:
    if file.file_id is not None:
        refuse(f"{field}.file_id", "a file at OpenAI; send its content as file_data")
    if file.file_data is None:
        refuse(f"{field}.file_data", "it is missing")
    found = _DATA_URL.match(file.file_data)
    if found is None and file.file_data[:5].lower() == "data:":
        refuse(f"{field}.file_data", "write a data: URL in base64")
    if found is not None and found["type"].lower() != "application/pdf":
        refuse(f"{field}.file_data", "Anthropic takes files of application/pdf")
    data = file.file_data[found.end() :] if found else file.file_data
    title = {"title": file.filename} if file.filename else {}
    return {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": data},
        **title,
    }
