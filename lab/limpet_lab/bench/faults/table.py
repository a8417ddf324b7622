"""The faults, in the order in which they come: how each begins and ends, whom it concerns, and what has to hold."""

from dataclasses import dataclass
from typing import Final

from limpet_lab.bench.faults import platform_steps as platform
from limpet_lab.bench.faults import provider_steps as provider
from limpet_lab.bench.faults.bars import (
    ALL_DECIDED,
    ASKED_AGAIN,
    CHANGE_ARRIVES,
    CONDITION_SAYS,
    IN_DIALECT,
    LITTLE_LATER,
    MOVES,
    NEXT_TURN_ELSEWHERE,
    NO_ERRORS,
    NOTHING_EXPIRES,
    NOTHING_STAYS,
    ONLY_THE_BROKEN,
    SERVED_AFTER_RETURN,
    STAYS,
    STICKY_IN_A_TURN,
    UNDECIDED_THERE,
    FaultBar,
)
from limpet_lab.bench.faults.objects import BY_NAME, BY_TLS, PLAIN
from limpet_lab.bench.faults.scene import FaultStep, nothing
from limpet_lab.sim.faults import Fault

TIMES_SLOWER: Final = 20
HOUR_S: Final = 3600.0
_FIRST_BYTE_S: Final = 0.1
"""Of a seller whose prompt is warm."""


@dataclass(frozen=True, slots=True)
class CampaignFault:
    """One row of the campaign."""

    name: str
    begin: FaultStep
    end: FaultStep
    bars: tuple[FaultBar, ...]
    victim: str = PLAIN
    concerns_provider: bool = True
    """Whether conversations have to leave the victim."""
    slow: bool = False
    """Whether the victim answers, and is only slow."""
    clean: FaultStep = nothing
    """Once all has been measured: puts back what `end` left out."""
    before_load: bool = False
    """It begins before the conversations do."""
    heals_at_once: bool = True
    """Whether the memory can be right again while the fault lasts."""
    during_s: float | None = None
    """None: as long as the others."""
    short: bool = False
    """Part of the short form."""


def _answering(name: str, victim: str, fault: Fault, *, slow: bool = False, short: bool = False) -> CampaignFault:
    begin, end = provider.answers(fault), provider.answers_again
    return CampaignFault(name, begin, end, MOVES, victim, slow=slow, short=short)


def _of_redis(
    name: str, begin: FaultStep, end: FaultStep, *, heals: bool = False, short: bool = False
) -> CampaignFault:
    bars = (NO_ERRORS, LITTLE_LATER, *(() if heals else (ASKED_AGAIN,)), STICKY_IN_A_TURN, STAYS)
    return CampaignFault(name, begin, end, bars, concerns_provider=False, heals_at_once=heals, short=short)


def _of_worker(name: str, begin: FaultStep, *, short: bool = False) -> CampaignFault:
    bars, clean = (NO_ERRORS, UNDECIDED_THERE), platform.worker_is_replaced
    return CampaignFault(
        name, begin, platform.all_workers_decide, bars, concerns_provider=False, clean=clean, short=short
    )


def _of_clock(name: str, by_s: float) -> CampaignFault:
    bars = (NO_ERRORS, NOTHING_EXPIRES, NOTHING_STAYS)
    clean = platform.clock_is_right
    begin, end = platform.clock_jumps(by_s), platform.limit_is_over
    return CampaignFault(name, begin, end, bars, concerns_provider=False, clean=clean)


FAULTS: Final = (
    _of_redis("redis_killed", platform.redis_dies, platform.redis_returns),
    _of_redis("redis_stalled", platform.redis_stalls, platform.redis_goes_on),
    _of_redis("redis_flushed", platform.redis_forgets, nothing, heals=True, short=True),
    _of_redis("redis_slow", platform.redis_slows, platform.redis_recovers),
    _of_worker("worker_killed", platform.worker_dies, short=True),
    _of_worker("worker_frozen", platform.worker_freezes),
    _of_worker("worker_out_of_memory", platform.worker_runs_out_of_memory),
    CampaignFault(
        "operator_killed",
        platform.operators_die,
        platform.operators_return,
        (NO_ERRORS, ALL_DECIDED, STAYS),
        concerns_provider=False,
        before_load=True,
    ),
    CampaignFault(
        "planes_killed_then_changed",
        platform.planes_die_and_a_change_is_made,
        platform.operators_return_with_the_change,
        (NO_ERRORS, CHANGE_ARRIVES),
        concerns_provider=False,
        clean=platform.change_is_taken_back,
    ),
    CampaignFault(
        "envoy_refuses_config",
        platform.envoy_refuses,
        platform.envoy_accepts,
        (NO_ERRORS, STAYS, CONDITION_SAYS),
        BY_TLS,
        concerns_provider=False,
    ),
    _of_clock("clock_an_hour_ahead", HOUR_S),
    _of_clock("clock_an_hour_back", -HOUR_S),
    CampaignFault("refuses_connections", provider.stops, provider.returns, MOVES, PLAIN, short=True),
    _answering("hangs", BY_NAME, Fault("hang")),
    _answering("resets_before_headers", BY_TLS, Fault("reset_before_headers")),
    _answering("resets_within_headers", PLAIN, Fault("reset_within_headers")),
    _answering("answers_500", BY_NAME, Fault("status", status=500)),
    _answering("answers_503", BY_TLS, Fault("status", status=503), short=True),
    _answering("answers_529", PLAIN, Fault("status", status=529)),
    _answering("limits_without_retry_after", BY_NAME, Fault("status", status=429), short=True),
    _answering("limits_with_retry_after", PLAIN, Fault("status", status=429, retry_after_s=5)),
    CampaignFault("name_stops_resolving", provider.name_is_gone, provider.name_is_back, MOVES, BY_NAME, during_s=10.0),
    CampaignFault("certificate_expires", provider.certificate_expires, provider.certificate_renewed, MOVES, BY_TLS),
    _answering("slow_drip", PLAIN, Fault("slow_drip", delay_s=0.35), slow=True),
    _answering("slow_first_byte", BY_NAME, Fault("latency", delay_s=TIMES_SLOWER * _FIRST_BYTE_S), slow=True),
    CampaignFault(
        "breaks_in_mid_body",
        provider.answers(Fault("reset_within_body")),
        provider.answers_again,
        (ONLY_THE_BROKEN, NEXT_TURN_ELSEWHERE),
        PLAIN,
    ),
    CampaignFault(
        "all_down_then_one_back",
        provider.all_stop,
        provider.returns,
        (IN_DIALECT, SERVED_AFTER_RETURN),
        PLAIN,
        concerns_provider=False,
        clean=provider.others_return,
    ),
)
"""Those that are played on the bed. Providers fail last: for half a minute after its return one gets a small share."""
