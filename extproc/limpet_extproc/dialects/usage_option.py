"""Whether a stream of OpenAI's API will carry its usage: `stream_options`."""

from typing import Final

import msgspec
from msgspec import Raw

from limpet_extproc.dialects.opener import ABSENT


class _UsageOption(msgspec.Struct, frozen=True, gc=False):
    include_usage: bool | None = None


_STREAM_OPTIONS: Final[msgspec.json.Decoder[_UsageOption | None]] = msgspec.json.Decoder(_UsageOption | None)


def asks_for_usage(options: Raw) -> bool:
    """Whether there will be usage; and true for what is wrong here, which is the provider's to complain of."""
    if options is ABSENT:
        return False
    try:
        read = _STREAM_OPTIONS.decode(options)
    except (msgspec.MsgspecError, RecursionError):
        return True
    return read is not None and read.include_usage is True
