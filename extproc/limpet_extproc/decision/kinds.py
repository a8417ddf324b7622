"""What two candidates have in common at which a request costs the same."""

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

if TYPE_CHECKING:
    from limpet_extproc.decision.snapshot import Candidate


def cost_kind(candidate: "Candidate", **ignored: Any) -> bytes:
    """The same for two candidates at which every request costs the same, and that have the same weight.

    `ignored`: fields that count as equal, each with the value that stands for all.
    """
    common = replace(
        candidate,
        provider="",
        upstream_model="",
        seed=b"",
        zero_retention=None,
        trains_on_prompts=None,
        reads_provider_object=False,
        wait_level=0,
        unstreamed_s=0.0,
        limits=None,
        takes_affinity=False,
        **ignored,
    )
    return msgspec.msgpack.encode(common)
