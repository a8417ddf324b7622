"""Which policy holds: whose it is comes first, and then how specific it is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import Policy
from limpet_extproc.decision.policies import Policies


def holding(model: str, *policies: Policy, namespaces: frozenset[str] = frozenset({"default"})) -> Policy:
    return Policies(policies).holding(model, namespaces)


@pytest.mark.parametrize(
    ("model", "patterns", "expected"),
    [
        ("a/b", ["*"], "*"),
        ("a/b", ["*", "a/*"], "a/*"),
        ("a/b", ["a/*", "*"], "a/*"),
        ("a/b", ["a/*", "a/b"], "a/b"),
        ("a/b", ["a/b?", "*b"], "*b"),
        ("a/b", ["a/*", "*/b"], "a/*"),  # as specific as each other: the first
        ("a/b", ["A/*"], None),  # case counts
        ("a/b", ["x"], None),
        ("a/b", [], None),
        ("a*", ["a*", "a?"], "a*"),
    ],
)
def test_the_most_specific_pattern_wins(model: str, patterns: list[str], expected: str | None) -> None:
    found = holding(model, *(Policy(name=pattern, models=(pattern,)) for pattern in patterns))
    assert found.name == (expected or "default")


def test_one_policy_is_as_specific_as_its_best_pattern() -> None:
    both = Policy(name="both", models=("*", "a/b"))
    assert holding("a/b", both, Policy(name="a", models=("a/*",))) is both
    assert holding("a/c", both, Policy(name="a", models=("a/*",))).name == "a"


OWN = Policy(name="ai/own", models=("*",), namespace="ai")
EXACT = Policy(name="ai/exact", models=("gpt",), namespace="ai")
GATEWAY = Policy(name="gateway", models=("gpt",))
EVERYWHERE = Policy(name="everywhere", models=("*",))


@pytest.mark.parametrize(
    ("namespaces", "policies", "expected"),
    [
        ({"ai"}, (OWN,), "ai/own"),
        ({"ai"}, (GATEWAY, OWN), "ai/own"),  # one's own, however specific the gateway's is
        ({"ai"}, (OWN, EXACT), "ai/exact"),
        ({"ai"}, (EVERYWHERE,), "everywhere"),
        ({"ai", "team-b"}, (OWN, EXACT, EVERYWHERE), "everywhere"),  # no namespace decides about what others serve too
        ({"ai", "team-b"}, (OWN, EXACT), "default"),
        ({"team-b"}, (OWN, EXACT), "default"),
        ({"team-b"}, (OWN, GATEWAY), "gateway"),
    ],
)
def test_a_namespace_decides_about_what_it_alone_serves(
    namespaces: set[str], policies: tuple[Policy, ...], expected: str
) -> None:
    assert holding("gpt", *policies, namespaces=frozenset(namespaces)).name == expected


NAMES = st.text("ab*?", min_size=1, max_size=3)


@given(st.lists(st.tuples(NAMES, st.sampled_from([None, "a", "b"])), max_size=6), NAMES)
def test_a_stranger_s_policies_change_nothing(described: list[tuple[str, str | None]], model: str) -> None:
    policies = [Policy(name=str(n), models=(pattern,), namespace=ns) for n, (pattern, ns) in enumerate(described)]
    without = [policy for policy in policies if policy.namespace != "b"]
    alone = frozenset({"a"})
    assert holding(model, *policies, namespaces=alone) == holding(model, *without, namespaces=alone)
