"""From the first version of the chart to this one: no immutable field is changed."""

from typing import Any

import pytest
import yaml
from tests.chart.rendered import ROOT, Object, files, loaded, objects, objects_of

FIRST = ROOT / "tests" / "chart" / "fixtures" / "limpet-0.1.0.tgz"


def unchangeable(entry: Object) -> Any:
    """The fields whose change the API server refuses."""
    match entry["kind"]:
        case "Deployment":
            return entry["spec"]["selector"]
        case "Service":
            return entry["spec"].get("clusterIP")
        case "Secret":
            return entry["type"]
        case "RoleBinding" | "ClusterRoleBinding":
            return entry["roleRef"]
    return None


@pytest.mark.parametrize(
    "values",
    [
        "{}",
        "{watch: {allNamespaces: true}, redis: {url: 'redis://r:6379'}}",
        "{serviceMonitor: {enabled: true}, gateway: {autoscaling: {enabled: true}}}",
    ],
)
def test_objects_that_stay_can_be_changed_in_place(values: str) -> None:
    parsed = yaml.safe_load(values)

    def by_key(found: list[Object]) -> dict[tuple[str, str | None, str], Any]:
        return {
            (entry["kind"], entry["metadata"].get("namespace"), entry["metadata"]["name"]): unchangeable(entry)
            for entry in found
        }

    before, after = by_key(objects_of(FIRST, parsed)), by_key(objects(parsed))
    assert before
    assert {key: after[key] for key in before if key in after} == {key: before[key] for key in before if key in after}


def test_secrets_keep_their_names() -> None:
    def secrets(found: list[Object]) -> set[str]:
        return {entry["metadata"]["name"] for entry in found if entry["kind"] == "Secret"}

    assert secrets(objects_of(FIRST, {})) <= secrets(objects())


def test_a_copy_of_the_first_values_is_still_accepted() -> None:
    assert files(loaded(FIRST).values)
