"""A request, read: its head as Envoy hands it over, and its body in the dialect that the client speaks."""

from collections.abc import Callable, Mapping

import msgspec

from limpet_extproc.contract.apis import Api, Asked
from limpet_extproc.dialects.form import Form, FormBody
from limpet_extproc.dialects.port import BadRequestError, Dialect, ParsedRequest, Refusal
from limpet_extproc.dialects.spans import Body
from limpet_extproc.request.refusals import bad_request, encoded_body


class RequestHead(msgspec.Struct, frozen=True, gc=False):
    """A request without its body. Header names are lower case."""

    dialect: Dialect
    headers: Mapping[str, str]
    api: Api = Api("OpenAIChat", "conversation")
    asked: Asked = Asked("/chat/completions")


def read(head: RequestHead, body: Body) -> ParsedRequest | Refusal:
    """What routing needs of the request, or what is wrong with it."""
    return unreadable(head) or parse(head.dialect, body, head.asked)


def unreadable(head: RequestHead) -> Refusal | None:
    """Why the body cannot be read, whatever is in it."""
    encoding = head.headers.get("content-encoding", "")
    return None if not encoding or encoding.lower() == "identity" else encoded_body(encoding)


def read_form(head: RequestHead, form: Form, body: FormBody) -> ParsedRequest | Refusal:
    """The same of a form, where it lies."""
    return unreadable(head) or _parsed(lambda: form.parse(body, head.asked))


def parse(dialect: Dialect, body: Body, asked: Asked) -> ParsedRequest | Refusal:
    """The body alone."""
    return _parsed(lambda: dialect.parse(body, asked))


def _parsed(parse: Callable[[], ParsedRequest]) -> ParsedRequest | Refusal:
    try:
        return parse()
    except BadRequestError as error:
        return bad_request(error.param, error.message, error.code)
