"""What is read of a cluster's Istio, and what is said of a cluster that has none or an old one."""

from collections.abc import Mapping
from typing import Any, cast

import pytest

from limpet_operator.mesh.injection import injection_note
from limpet_operator.mesh.istio_reading import IstioThere, read_istio
from limpet_operator.sources.kube_error import ApiError
from limpet_operator.sources.kube_reader import KubeReader

GROUP = "/apis/networking.istio.io"


class Answers:
    """An API with these answers by path; a number is the status of a refusal."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        self._answers = answers

    async def get(self, path: str) -> Any:
        answer = self._answers.get(path, 404)
        if isinstance(answer, int):
            raise ApiError(answer, f"the Kubernetes API answers {answer}")
        return answer


async def read(answers: Mapping[str, Any], *namespaces: str) -> IstioThere:
    async def sleep(_: float) -> None:
        """No time passes here."""

    return await read_istio(cast("KubeReader", Answers(answers)), namespaces, filters=True, sleep=sleep)


def group(*versions: str) -> dict[str, Any]:
    return {GROUP: {"versions": [{"version": each} for each in versions]}}


async def test_without_crds_that_is_said_once() -> None:
    there = await read({}, "app")
    assert there.version is None
    assert there.notes == ("the cluster has no CRDs of Istio: nothing of this can be applied there yet",)


@pytest.mark.parametrize(("served", "version"), [(("v1alpha3", "v1beta1", "v1"), "v1"), (("v1beta1",), "v1beta1")])
async def test_the_newest_version_that_is_served_is_used(served: tuple[str, ...], version: str) -> None:
    item = {"metadata": {"name": "theirs"}, "spec": {}}
    paths = {f"{GROUP}/{version}/{plural}": {"items": [item]} for plural in ("serviceentries", "virtualservices")}
    there = await read(group(*served) | paths)
    assert there.version == version
    assert [each["kind"] for each in there.existing] == ["ServiceEntry", "VirtualService"]
    assert there.notes == ()


async def test_what_may_not_be_read_is_said() -> None:
    refused = (*(f"{GROUP}/v1/{p}" for p in ("serviceentries", "virtualservices")), "/api/v1/namespaces/app")
    there = await read(group("v1") | dict.fromkeys(refused, 403), "app", "gone")
    assert [note.split(" could not")[0] for note in there.notes] == [
        "whether somebody else has a ServiceEntry for these hosts",
        "whether somebody else has a VirtualService for these hosts",
        "whether pods of namespace app have sidecars",
        "there is no namespace gone: its pods are served once it is there and has sidecars",
    ]


async def test_a_server_that_does_not_answer_is_an_error() -> None:
    with pytest.raises(ApiError):
        await read({GROUP: 503})
    with pytest.raises(ApiError):
        await read(group("v1") | {f"{GROUP}/v1/serviceentries": 503})


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        ({"istio-injection": "enabled"}, None),
        ({"istio.io/rev": "canary"}, None),
        ({"istio-injection": "disabled"}, "gets no sidecars"),
        ({}, "has neither istio-injection=enabled nor istio.io/rev"),
        ({"istio.io/dataplane-mode": "ambient"}, "is in ambient mode: VirtualServices count there at a waypoint alone"),
    ],
)
def test_labels_tell_whether_pods_have_sidecars(labels: dict[str, str], words: str | None) -> None:
    note = injection_note("app", labels, filters=False)
    assert note is None if words is None else words in (note or "")


async def test_a_namespaces_labels_are_read() -> None:
    empty: dict[str, Any] = {f"{GROUP}/v1/{p}": {"items": []} for p in ("serviceentries", "virtualservices")}
    there = await read(group("v1") | empty | {"/api/v1/namespaces/app": {"metadata": {"name": "app"}}}, "app")
    assert [note.split(" has neither")[0] for note in there.notes] == ["namespace app"]
