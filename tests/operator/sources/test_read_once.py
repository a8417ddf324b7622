"""The objects of a cluster, read once, and what is said where they can't be."""

from typing import Any

import pytest
from tests.operator.conftest import Build
from tests.operator.sources.fake_api import FakeApi

from limpet_operator.resources.objects import Objects
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.provider import Provider
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.read_once import UnreadableClusterError, read_objects

BASE = "/apis/limpet.dev/v1alpha1"
KINDS = ("Provider", "Pricing")


async def _read(build: Build, answers: dict[str, Any], *namespaces: str) -> Objects:
    return await read_objects(FakeApi(**answers), build.parser, KINDS, namespaces)  # type: ignore[arg-type]


def _items(*raws: dict[str, Any]) -> dict[str, Any]:
    """A list as an API server sends it, with what it adds to each object."""
    added: dict[str, Any] = {"status": {"conditions": []}}
    return {"kind": "List", "items": [{**raw, **added} for raw in raws]}


async def test_all_namespaces_and_what_is_not_valid(build: Build) -> None:
    providers = _items(
        build.raw("Provider", "a"), build.raw("Provider", "a", "team"), build.raw("Provider", "x", url=1)
    )
    found = await _read(build, {f"{BASE}/providers": providers, f"{BASE}/pricings": _items(build.raw("Pricing", "a"))})
    assert [each.key.display_name for each in found.of(Provider)] == ["a", "team/a"]
    assert [each.key.name for each in found.of(Pricing)] == ["a"]
    assert [key.name for key in found.invalid] == ["x"]


async def test_some_namespaces(build: Build) -> None:
    paths = [f"{BASE}/namespaces/{namespace}/{plural}" for namespace in "ab" for plural in ("providers", "pricings")]
    answers: dict[str, Any] = {path: _items() for path in paths}
    answers[paths[2]] = _items(build.raw("Provider", "p", "b"))
    assert [each.key.namespace for each in (await _read(build, answers, "a", "b")).of(Provider)] == ["b"]


@pytest.mark.parametrize(
    ("error", "namespaces", "words"),
    [
        (ApiError(404, "nothing there"), (), "knows no Providers; is it the right one"),
        (
            ApiError(401, "Unauthorized"),
            (),
            "Unauthorized; the kubeconfig's account is unknown or its credential has expired",
        ),
        (ApiError(403, "you may not"), (), "you may not; name the namespaces that you may read with --namespace"),
        (ApiError(403, "you may not"), ("a",), "you may not; your account needs the right to list providers there"),
        (ApiError(None, "the Kubernetes API does not answer"), (), "the Kubernetes API does not answer"),
    ],
)
async def test_what_is_in_the_way(build: Build, error: ApiError, namespaces: tuple[str, ...], words: str) -> None:
    inside = f"/namespaces/{namespaces[0]}" if namespaces else ""
    with pytest.raises(UnreadableClusterError, match=words):
        await _read(build, {f"{BASE}{inside}/providers": error}, *namespaces)


@pytest.mark.parametrize(("failures", "works"), [(4, True), (5, False)])
async def test_a_server_that_can_not_just_now_is_asked_again(build: Build, failures: int, works: bool) -> None:
    answers: dict[str, Any] = {f"{BASE}/providers": ApiError(429, "storage is (re)initializing")}
    answers[f"{BASE}/pricings"] = _items(build.raw("Pricing", "a"))
    pauses_s: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses_s.append(seconds)
        if len(pauses_s) == failures:
            answers[f"{BASE}/providers"] = _items()

    api = FakeApi()
    api.answers = answers
    reading = read_objects(api, build.parser, KINDS, (), sleep)  # type: ignore[arg-type]
    if works:
        assert len((await reading).of(Pricing)) == 1
    else:
        with pytest.raises(UnreadableClusterError, match="initializing"):
            await reading
    assert pauses_s == [1.0, 2.0, 4.0, 8.0]
