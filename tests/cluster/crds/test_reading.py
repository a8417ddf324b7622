"""What people see: the columns of `kubectl get`, short names, the category, and the help of `kubectl explain`."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from tests.crds.tables import CRDS, TABLES, changed

from limpet_lab.kubernetes.apiserver import ApiServer

NEVER = "1970-01-01T00:00:00Z"

COLUMNS = {
    "providers": ["NAME", "VENDOR", "READY", "HEALTH", "HIT%", "WARM", "PRICE-AGE", "AGE"],
    "pricings": ["NAME", "PROVIDER", "ACCEPTED", "FRESH", "WINDOW", "UNTIL", "SOURCE", "AGE"],
    "healthprobes": ["NAME", "INTERVAL", "ACCEPTED", "PROBING", "PROVIDERS", "UP", "AGE"],
    "stickypolicies": ["NAME", "MODE", "MODELS", "ROUTING", "ACCEPTED", "AGE"],
}
SHORT = {"prov": "providers", "price": "pricings", "probe": "healthprobes", "sticky": "stickypolicies"}


def cells(printed: str) -> list[list[str]]:
    """The cells of what kubectl prints; it puts three spaces or more between columns."""
    return [[cell.strip() for cell in line.split("   ") if cell.strip()] for line in printed.splitlines()]


@pytest.fixture(scope="module")
def place(apiserver: ApiServer) -> str:
    """A namespace with one object of each kind that no operator has seen."""
    name = apiserver.namespace("reading")
    apiserver.apply(*(changed(each, {}, "deepseek") for each in TABLES.values()), namespace=name).ok()
    return name


FRESH = {
    "providers": ["deepseek", "DeepSeek"],
    "pricings": ["deepseek", "deepseek"],
    "healthprobes": ["deepseek", "30s"],
    "stickypolicies": ["deepseek", "Enforce", '["*"]', "Metadata"],
}


@pytest.mark.parametrize("plural", COLUMNS)
def test_columns_before_an_operator_has_looked(apiserver: ApiServer, place: str, plural: str) -> None:
    header, row = cells(apiserver.kubectl("get", plural, "-n", place).ok())
    assert header == COLUMNS[plural]
    assert row[:-1] == FRESH[plural]
    assert row[-1].endswith("s"), "an age"


CONDITION = {"status": "True", "reason": "Tested", "message": "", "lastTransitionTime": NEVER}
STATUS = {
    "providers": {
        "conditions": [{"type": "Programmed", **CONDITION}],
        "health": {"verdict": "Up", "reason": "ProbeOK", "since": NEVER},
        "cache": {"hitPercent": 93, "warmConversations": 412},
        "price": {"retrieved": NEVER},
    },
    "pricings": {
        "conditions": [{"type": "Accepted", **CONDITION}, {"type": "Fresh", **CONDITION, "status": "False"}],
        "window": {"name": "peak", "until": NEVER},
    },
    "healthprobes": {
        "conditions": [{"type": "Accepted", **CONDITION}, {"type": "Probing", **CONDITION}],
        "providers": {"probed": 3, "up": 0},
    },
    "stickypolicies": {"conditions": [{"type": "Accepted", **CONDITION}]},
}
JUDGED = {
    "providers": ["DeepSeek", "True", "Up", "93", "412"],
    "pricings": ["deepseek", "True", "False", "peak", NEVER],
    "healthprobes": ["30s", "True", "True", "3", "0"],
    "stickypolicies": ["Enforce", '["*"]', "Metadata", "True"],
}


@pytest.mark.parametrize("plural", COLUMNS)
def test_columns_with_a_status(apiserver: ApiServer, namespace: str, plural: str) -> None:
    apiserver.apply(changed(TABLES[f"{plural}.yaml"], {}), namespace=namespace).ok()
    patch = ("--subresource=status", "--type=merge", f"--patch={json.dumps({'status': STATUS[plural]})}")
    apiserver.kubectl("patch", plural, "x", "-n", namespace, *patch).ok()
    header, row = cells(apiserver.kubectl("get", plural, "-n", namespace).ok())
    assert header == COLUMNS[plural]
    assert row[1:][: len(JUDGED[plural])] == JUDGED[plural]


@pytest.mark.parametrize(("short", "plural"), SHORT.items())
def test_short_names_and_singulars(apiserver: ApiServer, place: str, short: str, plural: str) -> None:
    kind = TABLES[f"{plural}.yaml"]["kind"]
    for name in (short, kind.lower(), kind, f"{plural}.limpet.dev"):
        assert apiserver.get(name, "deepseek", "-n", place)["kind"] == kind


def test_the_category_lists_all_kinds(apiserver: ApiServer, place: str) -> None:
    names = apiserver.kubectl("get", "limpet", "-n", place, "--output=name").ok().split()
    assert sorted(names) == sorted(f"{table['kind'].lower()}.limpet.dev/deepseek" for table in TABLES.values())


# kubectl explain.


def described(schema: dict[str, Any], path: str) -> Iterator[tuple[str, str]]:
    """Each field of a schema below `path`, with its description."""
    for name, below in schema.get("properties", {}).items():
        here = f"{path}.{name}"
        if here.count(".") > 1 or name in ("spec", "status"):
            yield here, below.get("description", "")
        yield from described(below.get("items", below), here)


FIELDS = [
    (field, description)
    for name in TABLES
    for crd in [yaml.safe_load((CRDS / name).read_text())]
    for field, description in described(
        crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"], crd["spec"]["names"]["singular"]
    )
]


@pytest.mark.parametrize("plural", COLUMNS)
def test_every_field_is_described_where_people_look(apiserver: ApiServer, plural: str) -> None:
    """What the server publishes, and `kubectl explain` reads, describes every field."""
    kind = TABLES[f"{plural}.yaml"]["kind"]
    published = apiserver.request("GET", "/openapi/v3/apis/limpet.dev/v1alpha1").json()["components"]["schemas"]
    (schema,) = (each for name, each in published.items() if name.endswith(f".{kind}"))
    published_text = dict(described(schema, kind.lower()))
    expected = {field: text.rstrip("\n") for field, text in FIELDS if field.split(".")[0] == kind.lower()}
    assert {field: published_text.get(field, "") for field in expected} == expected
    assert [field for field, text in published_text.items() if len(text.split()) < 3] == []


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("provider", "An account at an LLM endpoint, the models it serves and how its prompt cache behaves."),
        ("provider.spec", "The endpoint and how to use it; the vendor's preset supplies what is not set."),
        ("provider.spec.credential.secretRef.key", "Key within the Secret."),
        ("provider.spec.vendor", "ENUM: OpenAI AzureOpenAI Anthropic DeepSeek GoogleAIStudio"),
        ("prov.status.conditions.message", "Human-readable reason, and what to do about it."),
        ("pricing.spec.models.perMillionTokens.input", 'that are not cached, such as "0.15".'),
        ("healthprobe.spec.interval", "Time between two probes."),
        ("sticky.spec.mode", 'or "Off" (in quotes, or YAML reads it as false)'),
    ],
)
def test_explain(apiserver: ApiServer, field: str, expected: str) -> None:
    assert expected in " ".join(apiserver.kubectl("explain", field).ok().split())


def test_explain_shows_the_whole_tree(apiserver: ApiServer) -> None:
    tree = apiserver.kubectl("explain", "provider", "--recursive").ok()
    leaves = {field.rsplit(".", 1)[1] for field, _ in FIELDS if field.startswith("provider.")}
    assert [leaf for leaf in sorted(leaves) if f"{leaf}\t<" not in tree] == []
