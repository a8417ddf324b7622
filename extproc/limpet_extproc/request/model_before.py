"""Whether a conversation that is not remembered went on before with another model.

Its key has the model in it, so it has another one under each.
"""

from asyncio import gather
from itertools import islice
from typing import Final

from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.memory import Memory, Remembered
from limpet_extproc.request import identity
from limpet_extproc.request.opened import Opened

MOST_MODELS: Final = 8
"""That are asked for: clients change among a few, and a conversation that is never recognised asks with each turn."""


async def model_before(
    opened: Opened, snapshot: Snapshot, memory: Memory, secret: bytes, now_s: float, *, peek: bool = False
) -> str:
    """The model of the last turn that is remembered; empty: of none. `peek`: see `Memory.lookup`."""
    request, headers, api, asked = opened.request, opened.head.headers, opened.head.api.name, opened.query.lane.model
    tenant = identity.tenant(headers, opened.head.client)
    by, value = identity.conversation(headers, request, opened.query.lane.policy.identity_headers)
    others = islice((model for model in snapshot.by_api.get(api, ()) if model != asked), MOST_MODELS)
    keys = {model: identity.key(secret, tenant, request.user, model, by, value) for model in others}
    found = await gather(*(memory.lookup(key, now_s, peek=peek) for key in keys.values()))
    times_s = {model: _last_s(each) for model, each in zip(keys, found, strict=True) if each is not None and each.warm}
    return max(times_s, key=times_s.__getitem__, default="")


def _last_s(remembered: Remembered) -> float:
    """When its last turn was, or would have been if all caches lived as long."""
    return remembered.pace.last_s or remembered.warm[0].until_s
