"""Lines about providers: one when something begins, one when it is over, in the words of conditions."""

import pytest

from limpet_extproc.contract.health_stream import Probed
from limpet_operator.fleet.view import Traffic, TrafficState
from limpet_operator.planning.finding import ObjectFindings
from limpet_operator.status.health import ProviderHealth, provider_health
from limpet_operator.status.health_lines import health_lines, told_after

WELL = TrafficState()
FAILING = TrafficState("down", 9.0, "ServerError", 500, "oops")


def health(whole: TrafficState | None = None, **models: TrafficState) -> ProviderHealth:
    return provider_health(ObjectFindings(), Traffic(whole, models))


UP = health(WELL)
NO_KEY = health(TrafficState(None, 0.0, "CredentialRefused", 401, "Incorrect API key provided"))
OUT = health(FAILING)
OTHER_WORDS = health(TrafficState("down", 9.0, "ServerError", 500, "request 17 failed"))
LIMITED = health(TrafficState("over_limit", 9.0, "Limited", 429))
SLOW = health(TrafficState("degraded", 9.0, "SlowFirstByte"))
ONE_MODEL = health(WELL, pro=FAILING, flash=WELL, air=WELL)
TWO_MODELS = health(WELL, pro=FAILING, flash=FAILING, air=WELL)
UNKNOWN = provider_health(ObjectFindings(), None)


@pytest.mark.parametrize(
    ("before", "now", "lines"),
    [
        (None, None, []),
        (None, UP, []),
        (UP, UP, []),
        (
            None,
            NO_KEY,
            ['a is Down (CredentialRefused): it rejects the API key: 401 "Incorrect API key provided" (seen'],
        ),
        (NO_KEY, NO_KEY, []),
        (NO_KEY, UP, ["a is Up again: its last requests were answered"]),
        (UP, OUT, ['a is Down (Failing): it failed several times in a row: 500 "oops" (seen by requests); its']),
        (OUT, OTHER_WORDS, []),
        (UP, LIMITED, ["a is Limited (OverLimit): it is rate-limiting us: 429"]),
        (UP, SLOW, ["a is Degraded (SlowFirstByte): its answers begin much later than usual"]),
        (OUT, LIMITED, ["a is Limited (OverLimit): "]),
        (LIMITED, UP, ["a is Up again"]),
        (UP, ONE_MODEL, ["a is Degraded (Failing): model pro is Down: it failed"]),
        (ONE_MODEL, TWO_MODELS, ["a is Degraded (Failing): model flash is Down: "]),
        (OUT, UNKNOWN, []),
    ],
)
def test_a_line_where_something_begins_changes_or_ends(
    before: ProviderHealth | None, now: ProviderHealth | None, lines: list[str]
) -> None:
    found = list(health_lines({"a": before} if before else {}, {"a": now, "z": UP} if now else {"z": UP}))
    assert len(found) == len(lines)
    assert all(line.text.startswith(begin) for line, begin in zip(found, lines, strict=True))
    assert all(line.bad == (" is Up again" not in line.text) for line in found)


def test_good_probes_tell_that_a_provider_which_was_down_is_up_again() -> None:
    by_probe = provider_health(ObjectFindings(), None, [Probed("a", "Up")])
    assert [line.bad for line in health_lines({"a": OUT}, {"a": by_probe})] == [False]


def test_evidence_that_is_gone_is_no_recovery() -> None:
    """When a worker restarts, what its requests had shown is gone, and the probes alone are left."""
    fine, shut = Probed("a", "Up"), Probed("a", "Down", "CredentialRefused")
    by_probe, worse = (provider_health(ObjectFindings(), None, [each]) for each in (fine, shut))
    told = {"a": LIMITED}
    for now in (by_probe, UNKNOWN):
        assert not list(health_lines(told, {"a": now}))
        assert told_after(told, {"a": now}) == told
    assert not list(health_lines(told, {}))
    assert told_after(told, {}) == told
    assert [line.bad for line in health_lines(told, {"a": worse})] == [True]
    assert [line.bad for line in health_lines(told, {"a": UP})] == [False]
    assert told_after(told, {"a": UP}) == {"a": UP}
    assert [line.bad for line in health_lines({"a": worse}, {"a": by_probe})] == [False]
