"""The keeper writes what the Providers need, once and in order, and only while it holds the Lease."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
import pytest_asyncio
from tests.operator.conftest import Build
from tests.operator.upkeep.harness import HOST, OTHER, OURS, ROUTE, Harness

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.resources.secret import SecretText
from limpet_operator.resources.serving_certificate import ServingCertificate
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.upkeep.settings import UpkeepSettings


@pytest_asyncio.fixture
async def harness(build: Build) -> AsyncIterator[Harness]:
    made = Harness(build)
    yield made
    await made.end()


async def test_objects_come_change_and_go_with_the_provider_and_nothing_is_written_twice(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    found = await harness.until_found("Meshed")
    assert found.message == "VirtualService limpet-gateway-a.example brings its host's requests here"
    assert [path.split("/")[-2] for _, path in harness.api.writes] == ["serviceentries", "virtualservices"]
    harness.provide(alpha=f"https://{HOST}/v1")
    await harness.time.advance(30)
    assert len(harness.api.writes) == 2

    harness.provide(alpha=f"https://{OTHER}/v1")
    await harness.time.until(lambda: set(harness.api.about("ServiceEntry")) == {OTHER})
    assert set(harness.api.about("VirtualService")) == {OTHER}
    removed = [path.split("/")[-2] for method, path in harness.api.writes if method == "DELETE"]
    assert removed == ["virtualservices", "serviceentries"]

    harness.provide()
    await harness.time.until(lambda: not harness.api.objects)


async def test_https_is_brought_to_the_gateway_while_it_has_a_certificate_and_for_its_names_alone(build: Build) -> None:
    certificate = ServingCertificate("chain", SecretText("key"), (HOST,), datetime(2027, 1, 1, tzinfo=UTC))
    harness = Harness(build, UpkeepSettings(MeshGateway(tls_port=443), hosts=("llm.internal",)))
    providers = {"alpha": f"https://{HOST}/v1", "beta": f"https://{OTHER}/v1"}

    def with_tls() -> set[str]:
        return {host for host, each in harness.api.about("VirtualService").items() if "tls" in each}

    try:
        harness.provide(**providers)
        harness.start()
        await harness.until_found("Meshed")
        await harness.time.until(lambda: len(harness.api.about("VirtualService")) == 3)
        assert with_tls() == set()
        harness.provide(certificate, **providers)
        await harness.time.until(lambda: with_tls() == {HOST})
        harness.provide(replace(certificate, names=("*.internal",)), **providers)
        await harness.time.until(lambda: with_tls() == {"llm.internal"})
    finally:
        await harness.end()


async def test_writes_are_counted_by_what_came_of_them(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    assert [harness.count(kind, "applied") for kind in ("ServiceEntry", "VirtualService")] == [1, 1]
    for status, outcome in ((403, "not_permitted"), (409, "conflict"), (400, "not_taken"), (503, "away")):
        error = ApiError(status, "refused")

        def refuse(method: str, _path: str, error: ApiError = error) -> None:
            if method == "PATCH":
                raise error

        harness.api.refuse = refuse
        harness.provide(alpha=f"https://{outcome.replace('_', '-')}.example/v1")
        await harness.time.until(partial(_counted, harness, outcome))
    harness.api.refuse = lambda _method, _path: None
    harness.provide()
    await harness.time.until(lambda: not harness.api.objects)
    assert [harness.count(kind, "removed") for kind in ("ServiceEntry", "VirtualService")] == [1, 1]


def _counted(harness: Harness, outcome: str) -> bool:
    return harness.count("ServiceEntry", outcome) > 0


async def test_another_replica_writes_nothing(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start(lead=False)
    await harness.time.advance(30)
    assert not harness.api.writes
    assert harness.found().reason == "Pending"


async def test_what_is_there_already_stays_and_what_nobody_needs_any_more_goes(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    stray = await harness.stray()
    await harness.end()
    harness.api.writes.clear()

    successor = Harness(harness.build)
    successor.api.objects, successor.api.version = harness.api.objects, harness.api.version
    successor.provide(alpha=f"https://{HOST}/v1")
    successor.start()
    await successor.until_found("Meshed")
    await successor.time.until(lambda: stray not in successor.api.objects)
    await successor.time.advance(10)
    assert successor.api.writes == [("DELETE", stray)]
    await successor.end()


async def test_what_was_applied_by_hand_and_nobody_needs_is_named_and_left(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = {"hosts": ["alpha.default.providers.limpet.internal"]}
    left = [
        harness.api.put("ServiceEntry", "limpet", "printed", cluster, OURS),
        harness.api.put("VirtualService", "limpet", "old", {"hosts": [OTHER], **ROUTE}, OURS),
    ]
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    await harness.time.advance(60)
    assert set(left) < set(harness.api.objects)
    said = [record.message for record in caplog.records if "applied by hand" in record.message]
    assert [text.split(" was")[0] for text in sorted(said)] == [
        "ServiceEntry limpet/printed",
        "VirtualService limpet/old",
    ]


async def test_an_object_that_somebody_edits_is_taken_back(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    wanted = harness.api.about("VirtualService")[HOST]
    harness.api.put("VirtualService", "limpet", "limpet-gateway-a.example", {"hosts": [HOST], **ROUTE}, OURS)
    await harness.time.until(lambda: harness.api.about("VirtualService")[HOST] == wanted)


@pytest.mark.parametrize("how", ["edited", "deleted"])
async def test_an_object_that_somebody_undoes_each_time_is_put_back_more_and_more_rarely(
    harness: Harness, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    name = "limpet-gateway-a.example"

    def undo() -> None:
        path = harness.api.put("VirtualService", "limpet", name, {"hosts": [HOST], **ROUTE}, OURS)
        if how == "deleted":
            harness.api.remove(path)

    def meddle(method: str, path: str) -> None:
        if method == "PATCH" and path.endswith(f"virtualservices/{name}"):
            asyncio.get_running_loop().call_soon(undo)

    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    harness.api.refuse = meddle
    harness.api.writes.clear()
    undo()
    await harness.time.advance(1)
    first = len(harness.api.writes)
    assert first >= 1, "the first time it is put back at once"
    await harness.time.advance(600)
    assert len(harness.api.writes) <= first + 20
    assert sum("each time that it is written" in record.message for record in caplog.records) == 1
    # Something new is written at once, and the old one is put back when they leave it alone.
    harness.api.refuse = lambda _method, _path: None
    harness.provide(alpha=f"https://{HOST}/v1/other")
    await harness.time.advance(1)
    assert harness.found().reason == "Meshed"


async def test_a_route_of_somebody_elses_that_comes_and_goes_with_ours_keeps_nobody_busy(harness: Harness) -> None:
    def meddle(method: str, path: str) -> None:
        if not path.endswith("virtualservices/limpet-gateway-a.example"):
            return
        loop = asyncio.get_running_loop()
        if method == "PATCH":
            loop.call_soon(harness.api.put, "VirtualService", "other", "theirs", {"hosts": [HOST], **ROUTE})
        elif method == "DELETE":
            loop.call_soon(harness.api.remove, path.replace("limpet/", "other/").rpartition("/")[0] + "/theirs")

    harness.api.refuse = meddle
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.time.advance(600)
    assert 4 < len(harness.api.writes) < 100


async def test_two_releases_with_the_same_host_do_not_give_way_to_each_other_for_ever(
    harness: Harness, build: Build
) -> None:
    other = Harness(build, UpkeepSettings(MeshGateway(namespace="second")), harness)
    harness.api.under_way = lambda: harness.time.sleep(0.03)
    try:
        for each in (harness, other):
            each.provide(alpha=f"https://{HOST}/v1")
            each.start()
        await harness.time.until(lambda: {each.found().reason for each in (harness, other)} == {"Meshed", "Conflicted"})
        await harness.time.advance(10)
        before = len(harness.api.writes)
        await harness.time.advance(300)
        assert len(harness.api.writes) == before
    finally:
        await other.end()


async def test_a_route_of_somebody_elses_is_left_alone_and_ours_given_up_until_it_is_gone(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    theirs = harness.api.put("VirtualService", "other", "by-hand", {"hosts": [HOST], **ROUTE})
    found = await harness.until_found("Conflicted")
    assert found.status == "False"
    assert "VirtualService other/by-hand routes it already" in found.message
    await harness.time.until(lambda: list(harness.api.objects) == [theirs])
    assert harness.api.objects[theirs]["spec"] == {"hosts": [HOST], **ROUTE}
    harness.api.remove(theirs)
    await harness.until_found("Meshed")
    assert set(harness.api.about("ServiceEntry")) == {HOST}


async def test_an_object_of_others_counts_while_it_is_about_a_host_of_ours(harness: Harness) -> None:
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("Meshed")
    harness.api.put("VirtualService", "other", "theirs", {"hosts": ["0.example"], **ROUTE})
    await harness.time.advance(5)
    assert harness.found().reason == "Meshed"
    harness.api.put("VirtualService", "other", "theirs", {"hosts": [HOST], **ROUTE})
    await harness.until_found("Conflicted")
    harness.api.put("VirtualService", "other", "theirs", {"hosts": ["0.example"], **ROUTE})
    await harness.until_found("Meshed")


async def test_an_entry_of_somebody_elses_is_used_and_named(harness: Harness) -> None:
    ports = [{"number": 443, "name": "tls", "protocol": "TLS"}, {"number": 80, "name": "http", "protocol": "HTTP"}]
    harness.api.put("ServiceEntry", "other", "theirs", {"hosts": [HOST], "ports": ports})
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    found = await harness.until_found("Meshed")
    assert "ServiceEntry other/theirs makes it known already" in found.message
    assert [path.split("/")[-2] for _, path in harness.api.writes] == ["virtualservices"]


async def test_an_object_of_somebody_elses_with_our_name_stays(harness: Harness) -> None:
    harness.api.put("ServiceEntry", "limpet", "limpet-gateway-a.example", {"hosts": ["else.example"], "ports": []})
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    found = await harness.until_found("Conflicted")
    assert "ServiceEntry limpet/limpet-gateway-a.example is somebody else's" in found.message
    assert not harness.api.writes


async def test_without_crds_it_says_so_once_and_goes_on_when_they_are_there(
    harness: Harness, caplog: pytest.LogCaptureFixture
) -> None:
    harness.api.crds = False
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.until_found("NoIstio")
    await harness.time.advance(60)
    assert sum("lacks CRDs" in record.message for record in caplog.records) == 1
    assert harness.keeper.problem == "the cluster lacks CRDs of Istio"
    harness.api.crds = True
    await harness.until_found("Meshed")
    assert harness.keeper.problem is None


@pytest.mark.parametrize(
    ("status", "reason", "said"),
    [
        (403, "NotPermitted", "grant create, patch and delete on serviceentries of networking.istio.io in namespace"),
        (500, "Pending", "its objects for the mesh are being written"),
        (400, "NotTaken", "ServiceEntry limpet/limpet-gateway-a.example is not taken: refused"),
    ],
)
async def test_what_is_refused_is_told_and_tried_again(
    harness: Harness, status: int, reason: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(method: str, _path: str) -> None:
        if method == "PATCH":
            raise ApiError(status, "refused")

    harness.api.refuse = refuse
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    await harness.time.advance(20)
    assert said in (await harness.until_found(reason)).message
    assert 3 <= len(harness.api.writes) <= 6
    assert not any("virtualservices" in path for _, path in harness.api.writes)
    told = [record.message for record in caplog.records if record.name.startswith("limpet_operator.upkeep")]
    assert len(told) <= 2
    # What a person has changed is tried at once.
    harness.api.refuse = lambda _method, _path: None
    harness.provide(alpha=f"https://{OTHER}/v1")
    await harness.time.advance(1)
    assert harness.found().reason == "Meshed"


@pytest.mark.parametrize(
    "words",
    [
        "failed to create typed patch object: .spec.exportTo: field not declared in schema",
        "etcdserver: request is too large",
        "rpc error: code = ResourceExhausted desc = trying to send message larger than max (2368654 vs. 2097152)",
    ],
)
async def test_a_refusal_that_says_500_is_told_in_the_servers_words(harness: Harness, words: str) -> None:
    def refuse(method: str, _path: str) -> None:
        if method == "PATCH":
            raise ApiError(500, words)

    harness.api.refuse = refuse
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    assert words in (await harness.until_found("NotTaken")).message


async def test_rights_to_read_that_are_missing_are_named(harness: Harness) -> None:
    def refuse(method: str, path: str) -> None:
        if method == "GET" and path.endswith("virtualservices"):
            raise ApiError(403, "virtualservices is forbidden")

    harness.api.refuse = refuse
    harness.provide(alpha=f"https://{HOST}/v1")
    harness.start()
    found = await harness.until_found("NotPermitted")
    assert found.message == (
        "grant list and watch on virtualservices of networking.istio.io in all namespaces to the operator "
        "(virtualservices is forbidden)"
    )
    assert not harness.api.writes
    harness.api.refuse = lambda _method, _path: None
    await harness.until_found("Meshed")
