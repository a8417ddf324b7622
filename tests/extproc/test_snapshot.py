"""The catalog as lookup tables: lanes, policies by the most specific pattern, models of a dialect."""

import pytest

from limpet_extproc.contract import Catalog, Model, Policy, Provider
from limpet_extproc.snapshot import EMPTY, policy_for, snapshot

CATALOG = Catalog(
    revision="r7",
    providers=(
        Provider(
            "b", (Model("flash", "Flash-V4", 1024), Model("pro", "pro")), ("OpenAIChat", "AnthropicMessages"), weight=3
        ),
        Provider("a", (Model("flash", "flash"),), cache_ttl_s=60.0, caches=False, drain=True),
    ),
    policies=(Policy(name="pro", models=("pro",), identity_headers=("x-b", "x-a")), Policy(identity_headers=("x-a",))),
)


def test_a_lane_has_all_that_serve_a_model_in_the_catalogs_order() -> None:
    lane = snapshot(CATALOG).lanes["OpenAIChat", "flash"]
    assert [candidate.provider for candidate in lane.candidates] == ["b", "a"]
    b, a = lane.candidates
    assert (b.upstream_model, b.min_tokens, b.weight, b.caches, b.drain) == ("Flash-V4", 1024, 3, True, False)
    assert (a.upstream_model, a.cache_ttl_s, a.caches, a.drain, a.price) == ("flash", 60.0, False, True, None)
    assert lane.by_provider == {"a": a, "b": b}


def test_a_lane_is_one_dialects_only() -> None:
    known = snapshot(CATALOG)
    assert [c.provider for c in known.lanes["AnthropicMessages", "flash"].candidates] == ["b"]
    assert known.models("OpenAIChat") == ["flash", "pro"]
    assert known.models("OpenAIResponses") == []
    assert known.lanes["OpenAIChat", "pro"].policy.name == "pro"


def test_headers_of_all_policies_are_named_once() -> None:
    assert snapshot(CATALOG).identity_headers == ("x-b", "x-a")


def test_nothing_is_known_before_the_first_catalog() -> None:
    assert EMPTY.models("OpenAIChat") == []
    assert snapshot(CATALOG).revision == "r7"


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
    found = policy_for(model, tuple(Policy(name=pattern, models=(pattern,)) for pattern in patterns))
    assert found.name == (expected or "default")


def test_one_policy_is_as_specific_as_its_best_pattern() -> None:
    both = Policy(name="both", models=("*", "a/b"))
    assert policy_for("a/b", (both, Policy(name="a", models=("a/*",)))) is both
    assert policy_for("a/c", (both, Policy(name="a", models=("a/*",)))).name == "a"
