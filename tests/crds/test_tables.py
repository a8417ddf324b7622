"""The tables of good and bad objects, against the schemas as a laptop uses them."""

from typing import Any

import pytest
import yaml
from tests.crds.tables import BAD, CRDS, GOOD, TABLES, changed

from limpet_operator.resources.objects import Parser
from limpet_operator.resources.problem import Invalid


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser.load()


def _messages(rules: Any) -> set[str]:
    if isinstance(rules, list):
        return set().union(*map(_messages, rules))
    if not isinstance(rules, dict):
        return set()
    own = {rule["message"] for rule in rules.get("x-kubernetes-validations", ())}
    return own.union(*map(_messages, rules.values()))


@pytest.mark.parametrize(("table", "change"), GOOD)
def test_good(parser: Parser, table: dict[str, Any], change: dict[str, Any]) -> None:
    result = parser.parse(changed(table, change))
    assert not isinstance(result, Invalid), result.message


@pytest.mark.parametrize(("table", "case"), BAD)
def test_bad(parser: Parser, table: dict[str, Any], case: dict[str, Any]) -> None:
    result = parser.parse(changed(table, case["change"]))
    assert isinstance(result, Invalid)
    assert [str(problem) for problem in result.problems] == case["problems"]


def test_every_crd_has_a_table() -> None:
    assert {path.name for path in CRDS.glob("*.yaml")} == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_every_rule_of_the_crd_is_broken_by_a_case(name: str) -> None:
    crd = yaml.safe_load((CRDS / name).read_text())
    problems = [problem for case in TABLES[name]["bad"] for problem in case["problems"]]
    assert [rule for rule in _messages(crd) if not any(problem.endswith(rule) for problem in problems)] == []


KEYWORDS = {
    *("type", "description", "properties", "required", "items", "enum", "default", "minimum", "maximum", "minLength"),
    *("maxLength", "minItems", "maxItems", "maxProperties", "pattern", "format", "additionalProperties"),
    *("x-kubernetes-validations", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"),
}


def _check_structural(schema: dict[str, Any], path: str) -> None:
    assert set(schema) <= KEYWORDS, f"{path}: {set(schema) - KEYWORDS}"
    assert isinstance(schema["type"], str), path
    if schema["type"] == "array":
        assert "maxItems" in schema, f"{path}: the API server needs a bound to estimate the cost of rules"
        assert "x-kubernetes-list-type" in schema, path
    if "x-kubernetes-validations" in schema and schema["type"] == "string":
        assert "maxLength" in schema, f"{path}: the API server needs a bound to estimate the cost of rules"
    for key in schema.get("x-kubernetes-list-map-keys", ()):
        assert key in schema["items"]["required"], path
    for name, below in schema.get("properties", {}).items():
        described = "description" in below or name == "metadata"
        assert described, f"{path}.{name}: kubectl explain shows nothing"
        _check_structural(below, f"{path}.{name}")
    for name in ("items", "additionalProperties"):
        if name in schema:
            assert schema[name]["type"] != "object" or "description" in schema[name], f"{path}.{name}: not described"
            _check_structural(schema[name], f"{path}.{name}")


@pytest.mark.parametrize("name", TABLES)
def test_crd_is_structural_and_bounded(name: str) -> None:
    crd = yaml.safe_load((CRDS / name).read_text())
    (version,) = crd["spec"]["versions"]
    assert crd["metadata"]["name"] == f"{crd['spec']['names']['plural']}.{crd['spec']['group']}"
    assert (version["name"], version["served"], version["storage"], version["subresources"]) == (
        "v1alpha1", True, True, {"status": {}})  # fmt: skip
    _check_structural(version["schema"]["openAPIV3Schema"], "")
