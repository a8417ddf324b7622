"""What the Lua of an attempt makes of a body, for tests without Envoy."""

import json

from limpet_extproc.request.splices import Splices


def spliced(body: bytes, splices: Splices, model: str | None = None) -> bytes:
    """The body for a provider that calls the model so; None: as the client does."""
    out, at = b"", 0
    for offset, length, text in splices:
        assert at <= offset <= offset + length <= len(body), "unsorted, over another, or outside of the body"
        if text is True:
            if model is None:
                continue
            text = json.dumps(model)
        out += body[at:offset] + text.encode()
        at = offset + length
    return out + body[at:]
