"""To which stage of a request's way through the worker a moment belongs, by the functions that ran then. Pure."""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, get_args

Stage = Literal["http2", "reading", "identity", "decision", "answer", "log_entry", "learning", "activity", "other"]

STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
"""In the order of a request. `other`: the event loop, and what belongs to no request."""

OUTCOMES: Final = "limpet_extproc.envoy.outcome"
"""In whose functions the worker is whenever it takes in a log entry."""

MODULES: Final[dict[str, Stage]] = {
    "limpet_extproc.contract.activity": "activity",
    "limpet_extproc.envoy.activity_entry": "activity",
    "limpet_extproc.process.activity": "activity",
    "limpet_extproc.process.activity_buffer": "activity",
    "limpet_extproc.process.activity_sender": "activity",
    "limpet_extproc.envoy.grpc_server": "http2",
    "limpet_extproc.envoy.h2_connection": "http2",
    "limpet_extproc.envoy.h2_frames": "http2",
    "limpet_extproc.envoy.h2_requests": "http2",
    "limpet_extproc.envoy.h2_sending": "http2",
    "limpet_extproc.envoy.h2_stream": "http2",
    "limpet_extproc.dialects": "reading",
    "limpet_extproc.envoy.requests": "reading",
    "limpet_extproc.envoy.wire": "reading",
    "limpet_extproc.request.beginnings": "reading",
    "limpet_extproc.request.parsing": "reading",
    "limpet_extproc.request.reading": "reading",
    "limpet_extproc.request.clients": "identity",
    "limpet_extproc.request.identity": "identity",
    "limpet_extproc.request.opened": "identity",
    "limpet_extproc.request.prefix": "identity",
    "limpet_extproc.request.settings_hash": "identity",
    "limpet_extproc.contract.record": "answer",
    "limpet_extproc.envoy.responses": "answer",
    "limpet_extproc.envoy.server": "answer",
    "limpet_extproc.envoy.struct_wire": "answer",
    "limpet_extproc.request.edits": "answer",
    "limpet_extproc.request.splices": "answer",
    "limpet_extproc.decision": "decision",
    "limpet_extproc.memory": "decision",
    "limpet_extproc.providers": "decision",
    "limpet_extproc.request": "decision",
}
"""By module, or by package for all others in it."""

_OF_LOG_ENTRIES: Final = frozenset(
    {
        "limpet_extproc.contract.record",
        "limpet_extproc.envoy.log_entry",
        "limpet_extproc.envoy.noted",
        "limpet_extproc.envoy.trail",
        "limpet_extproc.envoy.usage",
    }
)


class Running(NamedTuple):
    """A function that was called and had not returned."""

    module: str
    function: str


def stage_of(stack: Sequence[Running]) -> Stage:
    """The stage of a moment. `stack` begins with the innermost function."""
    after_answer = any(running.module == OUTCOMES for running in stack)
    for running in stack:
        found = _after_answer(running) if after_answer else _by_module(running.module)
        if found is not None:
            return found
    return "other"


def _after_answer(running: Running) -> Stage | None:
    if running.module in _OF_LOG_ENTRIES:
        return "log_entry"
    if running.module == OUTCOMES:
        # What the service itself does is to read the message.
        return "log_entry" if running.function == "stream" else "learning"
    return "activity" if _by_module(running.module) == "activity" else None


def _by_module(module: str) -> Stage | None:
    while module:
        if module in MODULES:
            return MODULES[module]
        module = module.rpartition(".")[0]
    return None
