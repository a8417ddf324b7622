"""The APIs that keep nothing: embeddings, completions, images and the like, told by their model alone.

What else their bodies hold is up to the provider.
"""

from collections.abc import Callable
from typing import Final

from msgspec import Raw
from msgspec.structs import replace
from xxhash import xxh3_128_digest

from limpet_extproc.contract.apis import NOWHERE, Asked
from limpet_extproc.dialects.careful import BodyShape, CarefulReader, Fields
from limpet_extproc.dialects.openai_errors import openai_error
from limpet_extproc.dialects.opener import ABSENT
from limpet_extproc.dialects.port import LastBlock, ParsedRequest, Refusal
from limpet_extproc.dialects.spans import Body
from limpet_extproc.dialects.text import require_text
from limpet_extproc.dialects.usage_option import asks_for_usage


class _EndpointFields(Fields, frozen=True, gc=False, kw_only=True):
    user: Raw = ABSENT
    max_tokens: Raw = ABSENT
    stream_options: Raw = ABSENT


_SHAPE: Final = BodyShape(_EndpointFields)
_COMPLETIONS: Final = "/completions"
"""The only one whose streams have `stream_options`."""


class StatelessJson:
    """`POST /v1/embeddings` and all others with a JSON body that ask for a model and hold no conversation."""

    name: Final = "endpoint"

    def __init__(self, error: Callable[[Refusal], bytes] = openai_error) -> None:
        """`error` writes a refusal in the shape of the API's family."""
        self._error = error

    def parse(self, body: Body, asked: Asked = NOWHERE) -> ParsedRequest:
        """See `Dialect`. Two requests open alike if they are the same, byte for byte."""
        require_text(body, "'model'")
        reader = CarefulReader(_SHAPE, body)
        request, options = reader.request(asked_model=asked.model), reader.fields.stream_options
        usage_asked = asked.path != _COMPLETIONS or not request.stream or asks_for_usage(options)
        return replace(
            request,
            fingerprint=xxh3_128_digest(body),
            user=reader.person("user", reader.fields.user),
            max_output_tokens=reader.least(max_tokens=reader.fields.max_tokens),
            usage_asked=usage_asked,
            stream_options=None if usage_asked or options is ABSENT else reader.span(options),
        )

    def last_blocks(self, body: Body) -> tuple[LastBlock, ...]:
        """See `Dialect`: there is no prompt to mark."""
        return ()

    def error_body(self, refusal: Refusal) -> bytes:
        """See `Dialect`."""
        return self._error(refusal)
