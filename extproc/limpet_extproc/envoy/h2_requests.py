"""Header blocks to requests. Envoy sends few different ones, so a block that has been seen is not decoded again."""

from typing import Final

from hpack import Decoder, HPACKError

from limpet_extproc.envoy import h2_frames as h2
from limpet_extproc.envoy.h2_frames import H2ConnectionError, H2StreamError, Request

_MAX_CACHED: Final = 1_000
"""Different blocks of one connection."""
_MAX_CACHED_BYTES: Final = 4_096
"""Of one block."""


class RequestDecoder:
    """Decodes the header blocks of one connection."""

    def __init__(self) -> None:
        self._decoder = Decoder(h2.HEADER_BLOCK_BYTES)
        self._cache: dict[bytes, Request] = {}

    def request(self, block: bytes) -> Request | H2StreamError:
        """The request, or why it is not valid. Raises H2ConnectionError."""
        if (cached := self._cache.get(block)) is not None:
            return cached
        check_size(block)
        try:
            headers = list(self._decoder.decode(block, raw=True))
        except HPACKError as error:
            raise H2ConnectionError(h2.COMPRESSION_ERROR, f"headers that cannot be decoded: {error}") from error
        try:
            request = h2.request_of(headers)
        except H2StreamError as error:
            return error
        # As long as the client may use a table of headers, what a block means depends on those before it.
        if not self._decoder.max_allowed_table_size and len(block) <= _MAX_CACHED_BYTES:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            self._cache[block] = request
        return request

    def end_table(self) -> None:
        """The client has acknowledged that it may not use a table."""
        self._decoder.max_allowed_table_size = 0


def check_size(block: bytes | bytearray) -> None:
    """Raises H2ConnectionError for a block that is too large."""
    if len(block) > h2.HEADER_BLOCK_BYTES:
        raise H2ConnectionError(h2.ENHANCE_YOUR_CALM, "headers larger than any that are allowed")
