"""Translation on the way to one cluster and back: Envoy's calls, one for an attempt's request and one for the answer.

Apart, because they fail differently: an attempt whose request is not translated is an answer of nobody, which the next
provider may better; a stream whose rest is not translated has to be cut.
"""

from collections.abc import Callable, Mapping
from typing import Final, Protocol

import msgspec
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2 as modes
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from limpet_extproc.contract.envoy import (
    DECISION_HIDE_USAGE,
    DECISION_METADATA,
    TOO_LARGE,
    TRANSLATE_HEADER,
    TRANSLATED,
    TRANSLATION_METADATA,
    TRANSLATION_STATE,
    TRANSLATION_USAGE,
    UNREADABLE_ANSWER,
    UNTRANSLATED_PATH,
)
from limpet_extproc.dialects.openai_errors import openai_error
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.envoy.requests import parsed
from limpet_extproc.envoy.responses import CONTINUE_HEADERS, refused
from limpet_extproc.translation.answer import chat_completion
from limpet_extproc.translation.errors import chat_error, error_object
from limpet_extproc.translation.lenient import UnreadableAnswerError
from limpet_extproc.translation.request import TranslatedRequest, translated
from limpet_extproc.translation.stream import StreamTranslation
from limpet_extproc.translation.untranslatable import UntranslatableError

MAX_ANSWER_BYTES: Final = 64 << 20
"""Of an answer that comes as a whole; a longer one is none."""

BUFFERED_BYTES: Final = 1 << 19
"""An answer of known length up to here is held by Envoy until it is complete, so that it can still be refused."""

MAX_REQUEST_BYTES: Final = 32 << 20
"""Of a translated request, unless the gateway says otherwise."""


def _too_large() -> bytes:
    """The request goes on as it is, to a path that no provider has, and the next provider may take it."""
    response = pb.ProcessingResponse(request_body=pb.BodyResponse())
    response.dynamic_metadata.fields[TRANSLATION_METADATA].struct_value.update({TRANSLATION_STATE: TOO_LARGE})
    return bytes(response.SerializeToString())


_TOO_LARGE: Final = _too_large()
_NOTHING_YET: Final = bytes(
    pb.ProcessingResponse(
        response_body=pb.BodyResponse(response=pb.CommonResponse(body_mutation=pb.BodyMutation(clear_body=True)))
    ).SerializeToString()
)


class MessageCall(Protocol):
    """One call of Envoy's."""

    async def read(self) -> bytes | None:
        """The next message; None when there are no more."""

    async def write(self, message: bytes) -> None:
        """Send a message."""


class _Translating(Protocol):
    """An answer that is being translated."""

    def feed(self, data: bytes) -> bytes:
        """What follows from these bytes."""

    def end(self) -> bytes:
        """What follows from the end."""


class _WholeTranslation:
    """An answer that can be translated only when it is complete."""

    def __init__(self, translate: Callable[[bytes], bytes]) -> None:
        """`translate` may raise UnreadableAnswerError."""
        self._translate = translate
        self._body = bytearray()
        self.unreadable = False
        """Whether it calls itself a success, and what has been translated is an error."""

    def feed(self, data: bytes) -> bytes:
        if len(self._body) + len(data) > MAX_ANSWER_BYTES:
            raise OverflowError("an answer larger than any that is translated")
        self._body += data
        return b""

    def end(self) -> bytes:
        try:
            return self._translate(bytes(self._body))
        except UnreadableAnswerError:
            self.unreadable = True
            return chat_error(bytes(self._body))


class Translator:
    """Answers both calls. `clock`: Unix time."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock

    async def process(
        self, call: MessageCall, *, user_id: bool = True, body_limit_bytes: int = MAX_REQUEST_BYTES
    ) -> bytes | None:
        """One call; which of the two shows its first message. `user_id`: see `translated`."""
        data = await call.read()
        if data is None:
            return None
        first, _ = parsed(data)
        if first.HasField("response_headers"):
            await self._answer(first, call)
            return None
        await call.write(CONTINUE_HEADERS)
        data = await call.read()
        return None if data is None else _request(first, data, user_id=user_id, body_limit_bytes=body_limit_bytes)

    async def _answer(self, head: pb.ProcessingRequest, call: MessageCall) -> None:
        headers = {header.key: _text(header) for header in head.response_headers.headers.headers}
        noted = head.metadata_context.filter_metadata
        asked = noted[TRANSLATION_METADATA].fields[TRANSLATION_USAGE].bool_value
        asked = asked and not noted[DECISION_METADATA].fields[DECISION_HIDE_USAGE].bool_value
        answer, response = self._begin(headers, usage_asked=asked)
        held = response.mode_override.response_body_mode == modes.ProcessingMode.BUFFERED
        await call.write(bytes(response.SerializeToString()))
        if head.response_headers.end_of_stream:
            return
        ended = False
        while not ended and (data := await call.read()) is not None:
            request, _ = parsed(data)
            body = request.response_body.body
            ended = request.response_body.end_of_stream
            out = answer.feed(body) + (answer.end() if ended else b"")
            whole = answer if ended and isinstance(answer, _WholeTranslation) else None
            if whole is not None and whole.unreadable and not held:
                await call.write(_unreadable(out))
                return
            await call.write(_body(out, whole))

    def _begin(self, headers: Mapping[str, str], *, usage_asked: bool) -> tuple[_Translating, pb.ProcessingResponse]:
        """How an answer is translated, and what happens to its head."""
        created = int(self._clock())
        response = pb.ProcessingResponse(response_headers=pb.HeadersResponse())
        response.response_headers.response.header_mutation.remove_headers.extend((TRANSLATE_HEADER, "content-length"))
        encoding = headers.get("content-encoding", "identity")
        if encoding != "identity":
            # Nobody asked for that.
            mutation = response.response_headers.response.header_mutation
            _set(mutation, ":status", "502")
            mutation.remove_headers.append("content-encoding")
            message = f"The provider answered in the encoding '{encoding[:40]}', which was not asked for."
            refusal = msgspec.json.encode(error_object(message, "api_error"))
            return _WholeTranslation(lambda _: refusal), response
        if headers.get(":status") == "200" and "text/event-stream" in headers.get("content-type", ""):
            return StreamTranslation(created, usage_asked=usage_asked), response
        length = headers.get("content-length", "")
        if length.isdigit() and int(length) <= BUFFERED_BYTES:
            response.mode_override.response_body_mode = modes.ProcessingMode.BUFFERED
        if not headers.get(":status", "").startswith("2"):
            return _WholeTranslation(chat_error), response
        return _WholeTranslation(lambda body: chat_completion(body, created)), response


def _request(head: pb.ProcessingRequest, data: bytes, *, user_id: bool, body_limit_bytes: int) -> bytes:
    """The answer to a request's body."""
    _, body = parsed(data)
    try:
        request = translated(bytes(body), user_id=user_id)
    except UntranslatableError as error:
        return _refused(error)
    if len(request.body) > body_limit_bytes:
        return _TOO_LARGE
    path = next((_text(header) for header in head.request_headers.headers.headers if header.key == ":path"), "")
    return _translated(request, path.removeprefix(UNTRANSLATED_PATH))


def _translated(request: TranslatedRequest, path: str) -> bytes:
    response = pb.ProcessingResponse()
    common = response.request_body.response
    common.body_mutation.body = request.body
    _set(common.header_mutation, ":path", path)
    _set(common.header_mutation, "content-type", "application/json")
    _set(common.header_mutation, "content-length", str(len(request.body)))
    noted = response.dynamic_metadata.fields[TRANSLATION_METADATA].struct_value
    noted.update({TRANSLATION_STATE: TRANSLATED, TRANSLATION_USAGE: request.usage_asked})
    return bytes(response.SerializeToString())


def _refused(error: UntranslatableError) -> bytes:
    """Only a request that no worker has decided comes this far: others do not go where they cannot be translated."""
    field, why = error.found
    message = f"'{field}' cannot be translated for the provider of this model: {why}."
    refusal = Refusal(400, "refused.untranslatable", message, field, "untranslatable")
    return refused(refusal, openai_error(refusal))


def _unreadable(error: bytes) -> bytes:
    """For a client that may have the status already: then Envoy ends its connection."""
    immediate = pb.ImmediateResponse(body=error, details=UNREADABLE_ANSWER)
    immediate.status.code = 502
    _set(immediate.headers, "content-type", "application/json")
    return bytes(pb.ProcessingResponse(immediate_response=immediate).SerializeToString())


def _body(out: bytes, whole: _WholeTranslation | None) -> bytes:
    """`whole`: what has just become complete."""
    if not out:
        return _NOTHING_YET
    response = pb.ProcessingResponse()
    common = response.response_body.response
    common.body_mutation.body = out
    if whole is not None:
        _set(common.header_mutation, "content-length", str(len(out)))
        if whole.unreadable:
            _set(common.header_mutation, ":status", "502")
    return bytes(response.SerializeToString())


def _set(mutation: pb.HeaderMutation, name: str, value: str) -> None:
    option = mutation.set_headers.add()
    option.header.key, option.header.raw_value = name, value.encode()
    option.append_action = option.OVERWRITE_IF_EXISTS_OR_ADD


def _text(header: base_pb2.HeaderValue) -> str:
    return str(header.value or header.raw_value.decode("utf-8", "replace"))
