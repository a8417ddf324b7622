"""Several HealthProbes on one provider: the worst verdict counts, and all of them are named."""

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_extproc.contract.health_stream import VERDICTS, Verdict
from limpet_operator.probe.combine import ProviderStanding, by_provider, combined
from limpet_operator.probe.judge import Standing, worse
from limpet_operator.probe.outcome import Outcome
from limpet_operator.resources.healthprobe import HealthProbe
from limpet_operator.resources.objects import Parser

_PARSER = Parser.load()


def _probe(name: str, **spec: Any) -> HealthProbe:
    parsed = _PARSER.parse(Build.raw("HealthProbe", name, "ai", **spec))
    assert isinstance(parsed, HealthProbe)
    return parsed


CHEAP, OTHER = _probe("cheap"), _probe("other")
REAL = _probe("real", http=None, completion={"model": "flash"})


def standing(verdict: Verdict | None, outcome: Outcome | None = None, since_s: float = 1.0) -> Standing:
    return Standing(verdict, since_s, outcome or Outcome(verdict))


def test_the_worse_of_two_probes_counts_and_both_are_named() -> None:
    down = standing("Down", Outcome("Down", "ServerError", 500, "oops"), since_s=7.0)
    (probed,) = combined([ProviderStanding(CHEAP, "p", standing("Up")), ProviderStanding(OTHER, "p", down)])
    assert (probed.provider, probed.model, probed.verdict, probed.cause) == ("p", "", "Down", "ServerError")
    assert (probed.since_s, probed.status, probed.message) == (7.0, 500, "oops")
    assert probed.probes == ("ai/other", "ai/cheap")


def test_a_completion_speaks_for_its_model_alone_unless_the_cause_concerns_all() -> None:
    limited = standing("Limited", Outcome("Limited", "Limited", 429))
    both = combined([ProviderStanding(CHEAP, "p", standing("Up")), ProviderStanding(REAL, "p", limited)])
    assert [(each.model, each.verdict) for each in both] == [("", "Up"), ("flash", "Limited")]
    refused = standing("Down", Outcome("Down", "CredentialRefused", 401))
    (all_of_it,) = combined([ProviderStanding(CHEAP, "p", standing("Up")), ProviderStanding(REAL, "p", refused)])
    assert (all_of_it.model, all_of_it.verdict, all_of_it.probes) == ("", "Down", ("ai/real", "ai/cheap"))


def test_what_has_no_verdict_yet_is_not_among_them() -> None:
    assert combined([ProviderStanding(CHEAP, "p", standing(None))]) == ()


def test_the_verdicts_of_a_provider_are_found_by_its_name() -> None:
    probed = combined([ProviderStanding(probe, name, standing("Up")) for name in "ba" for probe in (CHEAP, REAL)])
    assert {name: [each.model for each in found] for name, found in by_provider(probed).items()} == {
        "a": ["", "flash"],
        "b": ["", "flash"],
    }


@given(st.lists(st.sampled_from(VERDICTS), min_size=1, max_size=6), st.randoms())
def test_no_order_of_the_probes_makes_a_difference(verdicts: list[Verdict], random: Any) -> None:
    keys = [replace(CHEAP, key=CHEAP.key._replace(name=f"n{number}")) for number in range(len(verdicts))]
    standings = [ProviderStanding(probe, "p", standing(verdict)) for probe, verdict in zip(keys, verdicts, strict=True)]
    (expected,) = combined(standings)
    random.shuffle(standings)
    assert combined(standings) == (expected,)
    assert not any(worse(verdict, expected.verdict) for verdict in verdicts)
    assert set(expected.probes) == {f"ai/n{number}" for number in range(len(verdicts))}
