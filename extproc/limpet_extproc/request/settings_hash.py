"""All that a request asks for besides its prompt, as a hash of a few bytes.

Vendors' caches depend on some of it: `tool_choice`, the effort of reasoning, the schema of an answer, whose key it has
(Anthropic's and OpenAI's guides to prompt caching, 2026). Which of it breaks what differs from vendor to vendor. So it
is only noted whether anything at all differs from the turn before.
"""

from xxhash import xxh3_64

from limpet_extproc.dialects.port import PromptLayout
from limpet_extproc.memory import SETTINGS_BYTES


def settings_of(body: bytes | memoryview, layout: PromptLayout, seed: bytes) -> bytes:
    """The hash of what stands in the body around its prompt. `seed`: as that of `chain_of`."""
    messages = (layout.start, layout.ends[-1] if layout.ends else layout.opened)
    tools, system = layout.tools, layout.system
    parts = [messages]
    if tools.length or system.length:
        parts += [(offset, offset + length) for offset, length in (tools, system) if length]
        parts.sort()
    view, hashed, begin = memoryview(body), xxh3_64(seed), 0
    for start, end in parts:
        hashed.update(view[begin:start])
        begin = end
    hashed.update(view[begin:])
    return hashed.digest()[:SETTINGS_BYTES]
