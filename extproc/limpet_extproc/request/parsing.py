"""A request, read: its head as Envoy hands it over, and its body in the dialect that the client speaks."""

from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from limpet_extproc.contract.apis import Api, Asked
from limpet_extproc.decision.clients import Client
from limpet_extproc.dialects.form import Form, FormBody
from limpet_extproc.dialects.port import BadRequestError, Dialect, ParsedRequest, Refusal
from limpet_extproc.dialects.spans import Body
from limpet_extproc.request.references import Searched, in_form, mentions_any, references
from limpet_extproc.request.refusals import bad_request, encoded_body

_Read = TypeVar("_Read")


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """A request without its body. Header names are lower case."""

    dialect: Dialect
    headers: Mapping[str, str]
    api: Api = Api("OpenAIChat", "conversation")
    asked: Asked = Asked("/chat/completions")
    client: Client | None = None
    """Who asks, by a key of ours; None: a stranger."""


def read(head: RequestHead, body: Body) -> ParsedRequest | Refusal:
    """What routing needs of the request, or what is wrong with it."""
    return unreadable(head) or parse(head.dialect, body, head.asked)


def unreadable(head: RequestHead) -> Refusal | None:
    """Why the body cannot be read, whatever is in it."""
    encoding = head.headers.get("content-encoding", "")
    return None if not encoding or encoding.lower() == "identity" else encoded_body(encoding)


def read_form(head: RequestHead, form: Form, body: FormBody) -> ParsedRequest | Refusal:
    """The same of a form, where it lies."""
    refused = unreadable(head)
    return _parsed(lambda: form.parse(body, head.asked)) if refused is None else refused


def parse(dialect: Dialect, body: Body, asked: Asked) -> ParsedRequest | Refusal:
    """The body alone."""
    return _parsed(lambda: dialect.parse(body, asked))


def find_references(body: bytes, searched: Searched) -> tuple[str, ...] | Refusal:
    """The objects that it names, or what is wrong with it."""
    return _parsed(lambda: references(body, searched) if mentions_any(body, searched) else ())


def find_form_references(
    head: RequestHead, form: Form, body: FormBody, searched: Searched
) -> tuple[str, ...] | Refusal:
    """The same of a form, where it lies."""
    refused = unreadable(head)
    return _parsed(lambda: in_form(body, form, searched)) if refused is None else refused


def _parsed(parse: Callable[[], _Read]) -> _Read | Refusal:
    try:
        return parse()
    except BadRequestError as error:
        return bad_request(error.param, error.message, error.code)
