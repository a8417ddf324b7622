"""The keeper in mode sidecar: clusters before routes, with time in between, and nothing is written without need."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from tests.operator.conftest import Build
from tests.operator.upkeep.harness import HOST, OTHER, OURS, ROUTE, Harness

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.upkeep.settings import KeptSidecars, UpkeepSettings

SETTLE_S = 5.0
ROLE = "limpet-limpet-operator-mesh"
ALPHA, BETA = (f"limpet-gateway-{name}.default.providers.limpet.internal" for name in ("alpha", "beta"))


def settings(*namespaces: str) -> UpkeepSettings:
    return UpkeepSettings(
        MeshGateway(export_to=namespaces), hosts=("llm.internal",), sidecars=KeptSidecars(namespaces, ROLE, SETTLE_S)
    )


@pytest_asyncio.fixture
async def harness(build: Build) -> AsyncIterator[Harness]:
    made = Harness(build, settings("apps"))
    yield made
    await made.end()


def names(harness: Harness, kind: str, namespace: str = "limpet") -> set[str]:
    """Of what is there."""
    part = f"/namespaces/{namespace}/{kind}/"
    return {path.partition(part)[2] for path in harness.api.objects if part in path}


def written(harness: Harness, about: str) -> list[str]:
    """What was done to the objects about this, in order."""
    return [
        f"{method} {path.split('/')[-2]} {path.split('/')[-1]}" for method, path in harness.api.writes if about in path
    ]


async def test_routes_are_written_when_sidecars_have_had_time_for_the_clusters(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.time.until(lambda: ALPHA in names(harness, "envoyfilters", "apps"))
    assert names(harness, "envoyfilters", "apps") == {ALPHA, "limpet-gateway-workers", "limpet-gateway-program-80"}
    assert harness.found().reason == "Pending"
    await harness.time.advance(SETTLE_S - 1)
    assert f"{ALPHA}-routes" not in names(harness, "envoyfilters", "apps")
    found = await harness.until_found("Meshed")
    assert found.message == (
        "VirtualService limpet-gateway-a.example brings its host's requests here, and sidecars of apps send there by "
        "themselves what is decided"
    )
    assert written(harness, ALPHA) == [
        f"PATCH serviceentries {ALPHA}",
        f"PATCH destinationrules {ALPHA}",
        f"PATCH envoyfilters {ALPHA}",
        f"PATCH envoyfilters {ALPHA}-routes",
    ]


async def test_a_removed_provider_loses_its_routes_first_and_its_cluster_later(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1", beta=f"https://{OTHER}/v1")
    harness.start()
    await harness.until_found("Meshed")
    harness.api.writes.clear()
    harness.provide(alpha=f"https://{HOST}/v1")
    await harness.time.until(lambda: f"{BETA}-routes" not in names(harness, "envoyfilters", "apps"))
    await harness.time.advance(SETTLE_S - 1)
    # The host's own objects are those of mode egress, and go at once.
    assert f"limpet-gateway-{OTHER}" not in names(harness, "virtualservices")
    assert BETA in names(harness, "envoyfilters", "apps")
    assert BETA in names(harness, "destinationrules")
    assert BETA in names(harness, "serviceentries")
    await harness.time.until(lambda: BETA not in names(harness, "serviceentries"))
    assert written(harness, BETA) == [
        f"DELETE envoyfilters {BETA}-routes",
        f"DELETE envoyfilters {BETA}",
        f"DELETE destinationrules {BETA}",
        f"DELETE serviceentries {BETA}",
    ]
    assert written(harness, f"{ALPHA}-routes") == [f"PATCH envoyfilters {ALPHA}-routes"], "its route for beta's host"


async def test_a_provider_that_comes_back_at_once_keeps_its_cluster(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    harness.provide()
    await harness.time.until(lambda: f"{ALPHA}-routes" not in names(harness, "envoyfilters", "apps"))
    harness.api.writes.clear()
    harness.provide(alpha=f"https://{HOST}/v1")
    await harness.time.advance(60)
    assert written(harness, ALPHA) == [f"PATCH envoyfilters {ALPHA}-routes"]


async def test_a_successor_writes_nothing_and_gives_sidecars_time_anew(harness: Harness, build: Build) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.time.until(lambda: ALPHA in names(harness, "envoyfilters", "apps"))
    await harness.end()

    successor = Harness(build, settings("apps"))
    successor.api.objects, successor.api.version = harness.api.objects, harness.api.version
    successor.provide(alpha=f"https://{HOST}/v1")
    successor.start()
    await successor.time.advance(SETTLE_S - 1)
    assert successor.api.writes == []
    await successor.until_found("Meshed")
    assert written(successor, "") == [f"PATCH envoyfilters {ALPHA}-routes"]
    await successor.time.advance(120)
    assert len(successor.api.writes) == 1
    await successor.end()


async def test_what_goes_with_the_right_to_write_it_is_owned_by_that(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    owners = {
        (path.split("/")[-2], path.split("/")[-1]): [
            (each["kind"], each["uid"]) for each in raw["metadata"]["ownerReferences"]
        ]
        for path, raw in harness.api.objects.items()
    }
    entry = next(raw for path, raw in harness.api.objects.items() if path.endswith(f"/serviceentries/{ALPHA}"))
    assert owners["serviceentries", ALPHA] == [("Lease", "lease-uid")]
    assert owners["destinationrules", ALPHA] == [("ServiceEntry", entry["metadata"]["uid"])]
    for name in (ALPHA, f"{ALPHA}-routes", "limpet-gateway-workers"):
        assert owners["envoyfilters", name] == [("Role", "uid of apps")]


async def test_the_program_of_a_port_goes_after_the_routes_that_need_it(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1", beta=f"http://{OTHER}:8000/v1")
    harness.start()
    await harness.until_found("Meshed")
    assert "limpet-gateway-program-8000" in names(harness, "envoyfilters", "apps")
    harness.api.writes.clear()
    harness.provide(alpha=f"https://{HOST}/v1")
    await harness.time.until(lambda: "limpet-gateway-program-8000" not in names(harness, "envoyfilters", "apps"))
    done = written(harness, "/envoyfilters/")
    assert done.index(f"PATCH envoyfilters {ALPHA}-routes") < done.index(
        "DELETE envoyfilters limpet-gateway-program-8000"
    )
    assert "limpet-gateway-program-80" in names(harness, "envoyfilters", "apps")


async def test_a_new_authority_is_told(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    harness.api.writes.clear()
    await harness.time.advance(120)
    assert harness.api.writes == []
    harness.authority = "(a new one)"
    await harness.time.advance(60)
    assert sorted(written(harness, "")) == [
        f"PATCH envoyfilters {ALPHA}",
        "PATCH envoyfilters limpet-gateway-workers",
    ]


async def test_a_namespace_that_is_closed_holds_up_no_other(build: Build) -> None:
    def refuse(_method: str, path: str) -> None:
        if "/namespaces/gone/" in path:
            raise ApiError(403, "envoyfilters is forbidden")

    harness = Harness(build, settings("apps", "gone"))
    harness.api.refuse = refuse
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    found = await harness.until_found("NotPermitted")
    assert found.message == (
        "grant list, watch, create, patch and delete on envoyfilters of networking.istio.io in namespace gone to the "
        "operator"
    )
    await harness.time.until(lambda: f"{ALPHA}-routes" in names(harness, "envoyfilters", "apps"))
    harness.api.refuse = lambda _method, _path: None
    await harness.until_found("Meshed")
    assert f"{ALPHA}-routes" in names(harness, "envoyfilters", "gone")
    await harness.end()


async def test_a_host_that_somebody_else_routes_is_asked_about_no_more(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    harness.api.put("VirtualService", "other", "by-hand", {"hosts": [HOST], **ROUTE})
    await harness.until_found("Conflicted")
    await harness.time.until(lambda: f"limpet-gateway-{HOST}" not in names(harness, "serviceentries"))

    def hosts(name: str) -> set[str]:
        raw = next(raw for path, raw in harness.api.objects.items() if path.endswith(f"/apps/envoyfilters/{name}"))
        found = (each["match"].get("routeConfiguration") for each in raw["spec"]["configPatches"])
        return {each["vhost"]["name"] for each in found if each and "vhost" in each}

    await harness.time.until(lambda: hosts("limpet-gateway-workers") == {"llm.internal:80"})
    await harness.time.until(lambda: hosts(f"{ALPHA}-routes") == {"llm.internal:80"})


async def test_after_a_change_to_mode_egress_the_clusters_go_once_the_routes_have(build: Build) -> None:
    harness = Harness(build, settings("apps"))
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    await harness.end()

    successor = Harness(build)
    # The chart has removed the Role, and Kubernetes what it owned.
    successor.api.objects = {path: raw for path, raw in harness.api.objects.items() if "/envoyfilters/" not in path}
    successor.api.version = harness.api.version
    successor.provide(alpha=f"https://{HOST}/v1")
    successor.start()
    await successor.time.advance(SETTLE_S - 1)
    assert ALPHA in names(successor, "serviceentries")
    await successor.time.until(lambda: ALPHA not in names(successor, "serviceentries"))
    assert names(successor, "serviceentries") == {f"limpet-gateway-{HOST}"}
    await successor.end()


@pytest.mark.parametrize("labelled", [OURS, {}])
async def test_clusters_that_routes_of_somebodys_own_need_stay(harness: Harness, labelled: dict[str, str]) -> None:
    """As `limpet mesh istio` prints them, with and without our labels."""
    cluster = {"hosts": ["gamma.default.providers.limpet.internal"]}
    left = harness.api.put("ServiceEntry", "limpet", "printed", cluster, labelled)
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    await harness.time.advance(60)
    assert left in harness.api.objects


async def test_who_takes_the_cluster_of_a_provider_gets_no_key(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1", beta=f"https://{OTHER}/v1")
    harness.start()
    await harness.until_found("Meshed")
    cluster = {"hosts": [ALPHA.removeprefix("limpet-gateway-")], "exportTo": ["apps"]}
    theirs = harness.api.put("ServiceEntry", "mallory", "mine", cluster)
    harness.api.writes.clear()
    await harness.time.until(lambda: "says where it is" in harness.found().message)
    assert harness.found().status == "True", "the gateway serves it"
    await harness.time.until(lambda: ALPHA not in names(harness, "serviceentries"))
    assert not [each for each in names(harness, "envoyfilters", "apps") if each.startswith(ALPHA)]
    order = [each.split()[1:] for each in written(harness, ALPHA)]
    assert order[0] == ["envoyfilters", f"{ALPHA}-routes"]
    assert {BETA, f"{BETA}-routes"} <= names(harness, "envoyfilters", "apps")
    harness.api.remove(theirs)
    await harness.time.until(lambda: f"{ALPHA}-routes" in names(harness, "envoyfilters", "apps"))
