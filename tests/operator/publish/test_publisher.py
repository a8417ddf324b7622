"""A change of one provider among many costs one: everything else is taken over by identity."""

from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_operator.planning.plan import Plan, plan
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.publication import Publisher
from limpet_operator.publish.resource import CLUSTER, LISTENER, SECRET
from limpet_operator.publish.resource import ROUTE as ROUTES
from limpet_operator.sources.file_store import FileStore

GATEWAY = EnvoySettings("127.0.0.1", 10000, ("/run/extproc.sock",))


class Changing:
    """Objects that a test changes one at a time, planned and published as the operator does it."""

    def __init__(self, build: Build, raws: list[Any]) -> None:
        self._build = build
        self._store = FileStore(build.parser)
        self._publisher = Publisher(GATEWAY)
        self._raws = {f"{raw['kind']}/{raw['metadata']['name']}": raw for raw in raws}
        self._plan: Plan | None = None

    def publish(self, *changed: Any, removed: str | None = None) -> Any:
        self._raws |= {f"{raw['kind']}/{raw['metadata']['name']}": raw for raw in changed}
        self._raws.pop(removed or "", None)
        self._store.replace(self._build.documents(*self._raws.values()))
        self._plan = plan(self._store.objects, {}, self._plan)
        return self._publisher.publication(self._plan)


def built_anew(before: Any, after: Any) -> set[tuple[str, str]]:
    return {key for key, each in after.resources.items() if before.resources.get(key) is not each}


@pytest.fixture
def world(build: Build) -> Changing:
    return Changing(build, [*(build.raw("Provider", f"p{number:02}") for number in range(30)), build.secret()])


def test_nothing_is_built_again_when_nothing_changed(world: Changing) -> None:
    before = world.publish()
    after = world.publish()
    assert built_anew(before, after) == set()
    assert after.catalog == before.catalog


def test_a_changed_provider_is_built_again_and_nothing_else(world: Changing, build: Build) -> None:
    before = world.publish()
    after = world.publish(build.raw("Provider", "p17", weight=7))
    assert built_anew(before, after) == {(CLUSTER, "p17"), (SECRET, "limpet/credential/p17@api.deepseek.com")}
    assert after.catalog.revision != before.catalog.revision


def test_an_added_model_changes_the_list_of_models_too(world: Changing, build: Build) -> None:
    before = world.publish()
    after = world.publish(build.raw("Provider", "p17", models=[{"name": "flash"}, {"name": "pro"}]))
    assert built_anew(before, after) == {
        (CLUSTER, "p17"),
        (SECRET, "limpet/credential/p17@api.deepseek.com"),
        (ROUTES, "limpet"),
    }


def test_a_removed_provider_is_gone_with_its_secret(world: Changing) -> None:
    before = world.publish()
    after = world.publish(removed="Provider/p17")
    assert set(before.resources) - set(after.resources) == {
        (CLUSTER, "p17"),
        (SECRET, "limpet/credential/p17@api.deepseek.com"),
    }
    assert built_anew(before, after) == {(ROUTES, "limpet")}


def test_a_rotated_key_reaches_every_provider_that_uses_it(world: Changing, build: Build) -> None:
    before = world.publish()
    after = world.publish(build.secret(**{"api-key": "sk-2"}))
    secrets = {key for key in built_anew(before, after) if key[0] == SECRET}
    assert len(secrets) == 30
    assert all(b"sk-2" in after.resources[key].body for key in secrets)


def test_a_policy_changes_what_all_share_only_where_envoy_has_to_know(world: Changing, build: Build) -> None:
    before = world.publish()
    after = world.publish(build.raw("StickyPolicy", "default", mode="Off"))
    assert built_anew(before, after) == set()
    headers = world.publish(build.raw("StickyPolicy", "default", identity={"headers": ["x-mine"]}))
    assert built_anew(after, headers) == {(LISTENER, "limpet")}
