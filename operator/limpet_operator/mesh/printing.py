"""Objects of a mesh as YAML: a comment on each, in an order that does not change."""

from collections.abc import Iterable, Iterator

from limpet_operator.mesh.istio_object import IstioObject
from limpet_operator.sources.readable_yaml import readable_yaml


def printed(objects: Iterable[IstioObject], version: str | None = None) -> str:
    """All of them, as `kubectl apply` takes them. `version` is that of Istio's API, None: v1."""
    return "---\n".join(_document(each, version) for each in objects)


def _document(of: IstioObject, version: str | None) -> str:
    return "\n".join([*_comment(of), readable_yaml([of.body(version)])])


def _comment(of: IstioObject) -> Iterator[str]:
    yield f"# {of.kind} {of.name}: {of.purpose}."
    if of.providers:
        yield f"# Provider{'s' if len(of.providers) > 1 else ''}: {', '.join(of.providers)}"
