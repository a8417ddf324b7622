"""What Helm makes of the chart: objects to look at, without a cluster."""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import helm_python
import yaml

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "limpet"

Object = dict[str, Any]


@functools.cache
def loaded(path: Path = CHART) -> helm_python.Chart:
    """The chart; it is immutable and never closed while tests run."""
    return helm_python.Chart.load(path)


def files(values: Mapping[str, Any] = {}, *, name: str = "limpet", namespace: str = "ai") -> dict[str, str]:
    """Rendered text by template. Raises HelmError with what Helm would say."""
    return loaded().render(dict(values), name=name, namespace=namespace)


def objects(values: Mapping[str, Any] = {}, *, name: str = "limpet", namespace: str = "ai") -> list[Object]:
    """All objects of a release."""
    return _parsed(files(values, name=name, namespace=namespace))


def objects_of(chart: Path, values: Mapping[str, Any]) -> list[Object]:
    """All objects of a release called limpet, in ai, of another chart."""
    return _parsed(loaded(chart).render(dict(values), name="limpet", namespace="ai"))


def one(found: list[Object], kind: str, name: str) -> Object:
    """The object of that kind and name."""
    (match,) = [entry for entry in found if entry["kind"] == kind and entry["metadata"]["name"] == name]
    return match


def pod(found: list[Object], deployment: str) -> Object:
    """The pod template of a Deployment."""
    template: Object = one(found, "Deployment", deployment)["spec"]["template"]
    return template


def containers(template: Object) -> list[Object]:
    """Its containers, sidecars first."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def container(template: Object, name: str) -> Object:
    """The container of that name."""
    (match,) = [entry for entry in containers(template) if entry["name"] == name]
    return match


def pretty(value: object) -> str:
    """For messages of failed tests."""
    return json.dumps(value, indent=1, sort_keys=True)


def _parsed(rendered: Mapping[str, str]) -> list[Object]:
    return [
        document
        for path, text in sorted(rendered.items())
        if path.endswith(".yaml")
        for document in yaml.safe_load_all(text)
        if document is not None
    ]
