"""A request up to the memory lookup: its lane is found and its conversation recognised."""

from collections.abc import Mapping
from typing import Protocol

import msgspec

from limpet_extproc.contract.catalog import CatalogProvider
from limpet_extproc.decision.prefix import NO_CHAIN, Chain
from limpet_extproc.decision.price import BYTES_PER_TOKEN, DEFAULT_OUTPUT_TOKENS
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Snapshot
from limpet_extproc.decision.steering import Steering, steering_of
from limpet_extproc.dialects.port import LastBlock, ParsedRequest, Refusal
from limpet_extproc.request import identity
from limpet_extproc.request.cache_marks import is_marked
from limpet_extproc.request.parsing import RequestHead
from limpet_extproc.request.prefix import chain_of
from limpet_extproc.request.refusals import unknown_model
from limpet_extproc.request.settings_hash import settings_of
from limpet_extproc.request.size import ATTACHMENT_BYTES, prompt_bytes
from limpet_extproc.translation.untranslatable import Untranslatable


class Opened(msgspec.Struct, frozen=True, gc=False):
    """A request for a model that is served, with its conversation if it has one."""

    request: ParsedRequest
    query: Query
    identified_by: str
    """How the conversation was recognised; empty: there is none."""
    providers: Mapping[str, CatalogProvider]
    """All of the catalog, by name."""
    owner: str
    """Whose objects the answer makes; empty: it makes none."""
    head: RequestHead
    body: bytes | memoryview
    tenant: str = ""
    """Whose request it is: an HMAC, hexadecimal; empty: the client sent no key."""


class TurnBefore(Protocol):
    """What is known of a turn that this one goes on from, and is of the same client."""

    @property
    def identified(self) -> identity.Identified | None:
        """Which conversation that was; None: nothing is known."""

    def hashed(
        self, request: ParsedRequest, seed: bytes, identified: identity.Identified
    ) -> tuple[Chain, bytes] | None:
        """The chain of the prompt and the hash of the settings under a seed (`prefix_seed`); None: not known.

        What is told of this turn may be kept for the next one.
        """


def open_request(
    head: RequestHead,
    request: ParsedRequest,
    body: bytes | memoryview,
    snapshot: Snapshot,
    secret: bytes,
    untranslatable: Untranslatable | None = None,
    before: TurnBefore | None = None,
) -> Opened | Refusal:
    """Look the model up, and recognise the conversation or, where the API has none, the request.

    `secret` is the installation's key for conversation keys, `untranslatable` what no translation can carry, `before`
    what need not be reckoned from the whole.
    """
    api, read = head.api, request
    lane = snapshot.lanes.get((api.name, request.model)) if request.model else snapshot.only_lane(api.name)
    if lane is None:
        return unknown_model(request.model, api.name, snapshot)
    stays = api.kind != "stateless"
    if stays:
        identified_by, value = identity.conversation(head.headers, request, lane.policy.identity_headers)
    else:
        identified_by, value = "", request.fingerprint
    marked = request.cache is not None and is_marked(request.cache, body)
    if lane.marks and not marked and not request.has_history and isinstance(request.last_blocks, msgspec.UnsetType):
        request = msgspec.structs.replace(request, last_blocks=head.dialect.last_blocks(bytes(body)))
    steering = steering_of(request.provider_object, request.allow_fallbacks, lane, snapshot.providers)
    if untranslatable is not None:
        field, why = untranslatable
        steering = msgspec.structs.replace(steering or Steering(), untranslatable=field, untranslatable_why=why)
    text_bytes = ATTACHMENT_BYTES if request.model_form == "plain" else prompt_bytes(body)
    usual_tokens = DEFAULT_OUTPUT_TOKENS if stays else 0
    made_from = request.user, lane.model, identified_by, value
    identified = None if before is None else before.identified
    if identified is None or identified.made_from != made_from:
        tenant = identity.tenant(head.headers, head.client)
        key = identity.key(secret, tenant, *made_from)
        owner = (identity.owner if head.client is None else identity.owner_by_name)(secret, tenant)
        seed = identity.prefix_seed(owner, api.name, lane.model)
        identified = identity.Identified(made_from, key, owner, seed, owner.name if tenant else "")
    owner, turns = identified.owner, api.kind == "conversation"
    chain, settings = NO_CHAIN, b""
    if turns and lane.caches and lane.policy.mode != "Off" and request.layout is not None:
        seed = identified.seed
        attached = text_bytes != len(body)
        found = None if before is None or attached else before.hashed(read, seed, identified)
        if found is not None:
            chain, settings = found
        else:
            chain = chain_of(body, request.layout, seed, attached=attached)
            settings = settings_of(body, request.layout, seed)
    query = Query(
        lane,
        identified.key,
        prompt_tokens=int(text_bytes / BYTES_PER_TOKEN),
        output_tokens=min(request.max_output_tokens or usual_tokens, DEFAULT_OUTPUT_TOKENS),
        steering=steering,
        service_tier=request.service_tier if request.service_tier in lane.service_tiers else "",
        marks_ttl_s=request.cache.marks_ttl_s if request.cache else None,
        retention_ttl_s=request.cache.retention_ttl_s if request.cache else None,
        stays=stays,
        marked=marked,
        has_history=request.has_history,
        lasting_tokens=int(_lasting_bytes(request, text_bytes) / BYTES_PER_TOKEN),
        settings=settings,
        chain=chain,
    )
    made_by = owner.name if turns and request.kept else ""
    return Opened(request, query, identified_by, snapshot.providers, made_by, head, body, identified.tenant)


def last_blocks(opened: Opened) -> tuple[LastBlock, ...]:
    """Where breakpoints for the whole prompt go, the last block first."""
    found = opened.request.last_blocks
    return opened.head.dialect.last_blocks(bytes(opened.body)) if isinstance(found, msgspec.UnsetType) else found


def _lasting_bytes(request: ParsedRequest, size: int) -> int:
    """What another request may begin with as well: all but the last message."""
    found = request.last_blocks
    return 0 if isinstance(found, msgspec.UnsetType) or not found else max(0, size - found[0].span.length)
