"""Objects for the tests of the operator: raw ones as a source finds them, and what becomes of them."""

import copy
from typing import Any

import pytest

from limpet_operator.planning.plan import Plan, plan
from limpet_operator.resources.objects import Objects, Parser
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.sources.file_store import FileStore
from limpet_operator.sources.files import Document, Origin

SPECS: dict[str, dict[str, Any]] = {
    "Provider": {
        "vendor": "DeepSeek",
        "url": "https://api.deepseek.com/v1",
        "credential": {"secretRef": {"name": "deepseek", "key": "api-key"}},
        "models": [{"name": "flash"}],
    },
    "Pricing": {
        "providerRef": {"name": "deepseek"},
        "models": [{"name": "flash", "perMillionTokens": {"input": "0.15", "cacheRead": "0.003", "output": "0.60"}}],
    },
    "HealthProbe": {"providerSelector": {}, "http": {"path": "/models"}},
    "StickyPolicy": {},
}


class Build:
    """Makes objects, right unless told otherwise, and takes them through the operator's steps."""

    def __init__(self, parser: Parser) -> None:
        self.parser = parser

    @staticmethod
    def raw(
        kind: str, name: str = "deepseek", namespace: str = "default", labels: Any = None, **spec: Any
    ) -> dict[str, Any]:
        """An object of one of our kinds; a field of the spec that is None is taken out."""
        merged = copy.deepcopy(SPECS[kind]) | spec
        return {
            "apiVersion": "limpet.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "labels": labels or {}},
            "spec": {field: value for field, value in merged.items() if value is not None},
        }

    @staticmethod
    def secret(name: str = "deepseek", namespace: str = "default", **values: str) -> dict[str, Any]:
        """A Secret, by default with the key that `raw("Provider")` asks for."""
        metadata = {"name": name, "namespace": namespace}
        return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": values or {"api-key": "sk-1"}}

    @staticmethod
    def documents(*raws: Any) -> list[Document]:
        """What a source would have found, one document a file."""
        return [Document(Origin(f"{number:03}.yaml", 1, 1), "", each) for number, each in enumerate(raws)]

    def objects(self, *raws: Any) -> Objects:
        store = FileStore(self.parser)
        store.replace(self.documents(*raws))
        return store.objects

    def plan(self, *raws: Any, env: dict[str, str] | None = None) -> Plan:
        return plan(self.objects(*raws), env or {})

    @staticmethod
    def key(kind: str, name: str = "deepseek", namespace: str = "default") -> ObjectKey:
        return ObjectKey(kind, namespace, name)


@pytest.fixture(scope="session")
def build() -> Build:
    return Build(Parser.load())
