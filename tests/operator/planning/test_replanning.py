"""What the plan before has already found only saves work: the outcome is that of a plan from nothing."""

from collections.abc import Iterator
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_operator.planning.plan import Plan, plan

NAMES = ("a", "b")
MODELS = ("m", "n", "n2")

models = st.lists(st.sampled_from(MODELS), min_size=1, max_size=2, unique=True)
providers = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "url": st.sampled_from(["https://one.example/v1", "not a url"]),
        "models": models.map(lambda names: [{"name": name} for name in names]),
        "labels": st.sampled_from([{}, {"team": "shop"}]),
    }
)
prices = models.map(lambda names: [{"name": name, "perMillionTokens": {"input": "1", "output": "2"}} for name in names])
pricings = st.fixed_dictionaries(
    {
        "name": st.sampled_from(NAMES),
        "providerRef": st.sampled_from(NAMES).map(lambda name: {"name": name}),
        "models": prices,
    }
)
probes = st.fixed_dictionaries(
    {"name": st.sampled_from(NAMES)},
    optional={"providerRefs": st.lists(st.sampled_from([*NAMES, "c"]), min_size=1, max_size=2, unique=True)},
)
policies = st.fixed_dictionaries(
    {"name": st.sampled_from(NAMES), "models": st.lists(st.sampled_from([*MODELS, "n*", "x"]), min_size=1, unique=True)}
)
worlds = st.fixed_dictionaries(
    {
        "Provider": st.lists(providers, max_size=2),
        "Pricing": st.lists(pricings, max_size=2),
        "HealthProbe": st.lists(probes, max_size=2),
        "StickyPolicy": st.lists(policies, max_size=2),
        "Secret": st.lists(st.sampled_from(["sk-1", "sk-2"]), max_size=1),
    }
)


def raws(build: Build, world: dict[str, list[Any]]) -> Iterator[dict[str, Any]]:
    for kind in ("Provider", "Pricing", "HealthProbe", "StickyPolicy"):
        by_name = {each["name"]: each for each in world[kind]}
        for name, each in by_name.items():
            spec = {field: value for field, value in each.items() if field not in ("name", "labels")}
            if kind == "HealthProbe":
                wanted = [{"name": ref} for ref in spec.pop("providerRefs", ())]
                spec |= {"providerRefs": wanted} if wanted else {"providerRefs": None, "providerSelector": SHOP}
            yield build.raw(kind, name, labels=each.get("labels"), **spec)
    for text in world["Secret"]:
        yield build.secret(**{"api-key": text})


SHOP = {"matchLabels": {"team": "shop"}}


@given(st.lists(worlds, min_size=2, max_size=4))
def test_a_plan_is_the_same_with_and_without_the_one_before(build: Build, steps: list[dict[str, list[Any]]]) -> None:
    before = Plan()
    for world in steps:
        objects = build.objects(*raws(build, world))
        after = plan(objects, {}, before)
        assert after == plan(objects, {})
        before = after


def test_what_has_not_changed_is_not_checked_again(build: Build) -> None:
    raw = [build.raw(kind) for kind in ("Provider", "Pricing", "HealthProbe", "StickyPolicy")]
    objects = build.objects(*raw, build.secret())
    first = plan(objects, {})
    second = plan(objects, {}, first)
    assert all(second.findings[key] is first.findings[key] for key in first.findings)
    assert all(second.checked[key] is first.checked[key] for key in first.checked)
