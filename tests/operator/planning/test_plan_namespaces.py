"""Namespaces that share a gateway: what one of them writes takes nothing away from another."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_extproc.decision.snapshot import snapshot
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.publish.catalog import catalog


def _policies_of(planned: Plan) -> dict[str, str]:
    """Model -> name of the policy that holds for it in the data plane."""
    return {model: lane.policy.name for (_, model), lane in snapshot(catalog(planned)).lanes.items()}


def test_one_model_in_two_namespaces_has_two_candidates_each_with_its_own_key(build: Build) -> None:
    raws = [build.raw("Provider", namespace=each) for each in ("ai", "team-b")]
    raws += [build.secret(namespace=each, **{"api-key": f"sk-{each}"}) for each in ("ai", "team-b")]
    planned = build.plan(*raws)
    assert [(each.name, each.credential.reveal()) for each in planned.providers] == [
        ("ai/deepseek", "sk-ai"),
        ("team-b/deepseek", "sk-team-b"),
    ]
    lane = snapshot(catalog(planned)).lanes["OpenAIChat", "flash"]
    assert [each.provider for each in lane.candidates] == ["ai/deepseek", "team-b/deepseek"]


def test_a_key_of_another_namespace_is_out_of_reach(build: Build) -> None:
    planned = build.plan(build.raw("Provider", namespace="team-b"), build.secret(namespace="ai"))
    assert planned.providers == ()
    findings = planned.findings[build.key("Provider", namespace="team-b")]
    assert findings.resolved_refs.reason == "SecretNotFound"


def test_prices_and_probes_speak_of_their_own_namespace_only(build: Build) -> None:
    raws = [build.raw("Provider", namespace="ai", credential=None)]
    raws += [build.raw("Pricing", namespace="team-b"), build.raw("HealthProbe", namespace="team-b")]
    planned = build.plan(*raws)
    assert [dict(each.prices) for each in planned.providers] == [{}]
    assert planned.probes == ()
    assert planned.findings[build.key("Pricing", namespace="team-b")].resolved_refs.reason == "ProviderNotFound"
    assert planned.findings[build.key("HealthProbe", namespace="team-b")].resolved_refs.reason == "NothingSelected"


def _two_teams(build: Build, *policies: Any) -> Plan:
    providers = [
        build.raw("Provider", "a", "ai", credential=None, models=[{"name": "mine"}, {"name": "shared"}]),
        build.raw("Provider", "b", "team-b", credential=None, models=[{"name": "yours"}, {"name": "shared"}]),
    ]
    return plan(build.objects(*providers, *policies), {}, owner="platform")


def test_each_team_decides_about_what_it_alone_serves_and_the_owner_about_the_rest(build: Build) -> None:
    own, theirs = (build.raw("StickyPolicy", "own", each, mode="Off") for each in ("ai", "team-b"))
    owners = build.raw("StickyPolicy", "all", "platform")
    assert _policies_of(_two_teams(build, own, owners)) == {
        "mine": "ai/own",
        "shared": "platform/all",
        "yours": "platform/all",
    }
    planned = _two_teams(build, own, theirs)
    assert _policies_of(planned) == {"mine": "ai/own", "shared": "default", "yours": "team-b/own"}
    # The same pattern in two namespaces is no conflict.
    assert all(each.ok for each in planned.findings.values())


def test_serving_a_model_of_theirs_never_brings_ones_own_policy_over_it(build: Build) -> None:
    grabbing = build.raw("StickyPolicy", "grab", "team-b", models=["mine", "shared", "*"], mode="Off")
    assert _policies_of(_two_teams(build, grabbing)) == {
        "mine": "default",
        "shared": "default",
        "yours": "team-b/grab",
    }


def test_only_the_owner_chooses_the_routing_of_the_gateway(build: Build) -> None:
    planned = _two_teams(build, build.raw("StickyPolicy", "own", "ai", routing="Header"))
    assert (planned.routing, planned.policies) == ("Metadata", ())
    accepted = planned.findings[build.key("StickyPolicy", "own", "ai")].accepted
    assert (accepted.reason, accepted.message) == (
        "NotPermitted",
        "routing: Header changes the whole gateway, which namespace platform decides; remove spec.routing",
    )
    assert _two_teams(build, build.raw("StickyPolicy", "own", "platform", routing="Header")).routing == "Header"


def test_on_a_laptop_all_objects_are_one_persons(build: Build) -> None:
    policy = build.raw("StickyPolicy", "own", "ai", routing="Header")
    planned = build.plan(policy, build.raw("Provider", namespace="team-b", credential=None))
    assert planned.routing == "Header"
    assert _policies_of(planned) == {"flash": "ai/own"}


KINDS = st.sampled_from(["Provider", "Pricing", "HealthProbe", "StickyPolicy", "Secret"])
STRANGERS = st.lists(st.tuples(KINDS, st.sampled_from(["deepseek", "a"]), st.booleans()), max_size=5)


@pytest.fixture(scope="module")
def ours(build: Build) -> list[Any]:
    return [
        build.raw("Provider", namespace="ai", models=[{"name": "mine"}]),
        build.secret(namespace="ai"),
        build.raw("Pricing", namespace="ai", models=[build.raw("Pricing")["spec"]["models"][0] | {"name": "mine"}]),
        build.raw("StickyPolicy", namespace="ai", mode="Observe"),
        build.raw("HealthProbe", namespace="ai"),
    ]


@settings(max_examples=60, deadline=None)
@given(strangers=STRANGERS)
def test_whatever_another_namespace_writes_our_part_stays_as_it_is(
    build: Build, ours: list[Any], strangers: list[tuple[str, str, bool]]
) -> None:
    def of_ours(planned: Plan) -> Any:
        served = [(each.name, each.credential, each.prices) for each in planned.providers if each.name[:3] == "ai/"]
        findings = {key: each for key, each in planned.findings.items() if key.namespace == "ai"}
        return served, findings, [each for each in planned.policies if each.name[:3] == "ai/"], planned.routing

    alone = of_ours(plan(build.objects(*ours), {}, owner="platform"))
    others = [
        build.secret(name, "team-b") if kind == "Secret" else build.raw(kind, name, "team-b", **_twist(kind, twisted))
        for kind, name, twisted in strangers
    ]
    assert of_ours(plan(build.objects(*ours, *others), {}, owner="platform")) == alone


def _twist(kind: str, twisted: bool) -> dict[str, Any]:
    if not twisted:
        return {}
    twists: dict[str, dict[str, Any]] = {"Provider": {"weight": -1}, "StickyPolicy": {"routing": "Header"}}
    return twists.get(kind, {})
