"""The catalog as lookup tables: lanes, policies by the most specific pattern, models of a dialect."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model, Policy
from limpet_extproc.decision.snapshot import EMPTY, snapshot

CATALOG = Catalog(
    revision="r7",
    providers=(
        CatalogProvider(
            "b", (Model("flash", "Flash-V4", 1024), Model("pro", "pro")), ("OpenAIChat", "AnthropicMessages"), weight=3
        ),
        CatalogProvider("a", (Model("flash", "flash"),), cache_ttl_s=60.0, caches=False, drain=True),
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
    tables = snapshot(CATALOG)
    assert [c.provider for c in tables.lanes["AnthropicMessages", "flash"].candidates] == ["b"]
    assert tables.models("OpenAIChat") == ["flash", "pro"]
    assert tables.models("OpenAIResponses") == []
    assert tables.lanes["OpenAIChat", "pro"].policy.name == "pro"


def test_nothing_is_known_before_the_first_catalog() -> None:
    assert EMPTY.models("OpenAIChat") == []
    assert snapshot(CATALOG).revision == "r7"


def test_which_policy_holds_for_a_model_depends_on_whose_providers_serve_it() -> None:
    served = (Model("mine", "mine"), Model("shared", "shared"))
    tables = snapshot(
        Catalog(
            "r",
            (
                CatalogProvider("a", served, namespace="a"),
                CatalogProvider("b", (Model("shared", "shared"),), namespace="b"),
            ),
            (Policy(name="a/own", namespace="a"), Policy(name="gateway", models=("*",))),
        )
    )
    assert tables.lanes["OpenAIChat", "mine"].policy.name == "a/own"
    assert tables.lanes["OpenAIChat", "shared"].policy.name == "gateway"


PROVIDER = st.builds(
    CatalogProvider,
    st.sampled_from("abc"),
    st.lists(st.builds(Model, st.sampled_from(("flash", "pro")), st.just("up")), unique_by=lambda m: m.name).map(tuple),
    weight=st.integers(1, 2),
    namespace=st.sampled_from(("a", "b")),
)
POLICY = st.builds(
    Policy,
    st.sampled_from("xy"),
    st.sampled_from((("*",), ("flash",), ("p*",))),
    namespace=st.sampled_from((None, "a")),
)
CATALOGS = st.builds(
    Catalog,
    st.just("r"),
    st.lists(PROVIDER, unique_by=lambda provider: provider.name).map(tuple),
    st.lists(POLICY, max_size=3).map(tuple),
)


@given(before=CATALOGS, now=CATALOGS)
def test_what_was_before_never_changes_what_is(before: Catalog, now: Catalog) -> None:
    after, rebuilt = snapshot(now, snapshot(before)), snapshot(now)
    assert list(after.lanes.items()) == list(rebuilt.lanes.items())
    assert list(after.providers.items()) == list(rebuilt.providers.items())


def test_a_lane_of_which_nothing_changed_is_taken_over() -> None:
    before = snapshot(CATALOG)
    again = msgspec.json.decode(msgspec.json.encode(CATALOG), type=Catalog)
    b, a = again.providers
    after = snapshot(msgspec.structs.replace(again, providers=(b, msgspec.structs.replace(a, weight=7))), before)
    kept = {key for key, lane in after.lanes.items() if lane is before.lanes[key]}
    assert before.lanes.keys() - kept == {("OpenAIChat", "flash")}
    assert after.lanes["OpenAIChat", "flash"].by_provider["a"].weight == 7
