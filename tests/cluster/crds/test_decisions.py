"""What the API server takes and refuses, in kubectl's own words; and that a laptop decides alike."""

from typing import Any

import pytest
from tests.crds.tables import BAD, GOOD, TABLES, changed

from limpet_lab.kubernetes.apiserver import ApiServer
from limpet_operator.resources.schema import load_schemas

PLURALS = {table["kind"]: name.removesuffix(".yaml") for name, table in TABLES.items()}
BAD_NAMES = [f"{table['kind']}-{number}" for number, (table, _) in enumerate(BAD)]
GOOD_NAMES = [f"{table['kind']}-{number}" for number, (table, _) in enumerate(GOOD)]


@pytest.fixture(scope="module")
def place(apiserver: ApiServer) -> str:
    """A namespace for all objects of the tables."""
    return apiserver.namespace("decisions")


def words(case: dict[str, Any], kind: str) -> str:
    """What kubectl prints for a case of the tables."""
    lines: list[str] = case["kubectl"]
    if lines[0].startswith("Error from server"):
        return lines[0]
    listed = lines[0] if len(lines) == 1 else "\n" + "\n".join(f"* {line}" for line in lines)
    return f'The {kind} "x" is invalid: {listed}'


@pytest.mark.parametrize(("table", "change"), GOOD, ids=GOOD_NAMES)
def test_good(apiserver: ApiServer, place: str, table: dict[str, Any], change: dict[str, Any], request: Any) -> None:
    """Each is taken, and completed with the same defaults as on a laptop."""
    name = request.node.callspec.id.lower()
    made = changed(table, change, name)
    apiserver.apply(made, namespace=place).ok()
    stored = apiserver.get(PLURALS[table["kind"]], name, "--namespace", place)
    completed, problems = load_schemas()[table["kind"]].complete(made)
    assert problems == ()
    assert stored["spec"] == completed["spec"]


@pytest.mark.parametrize(("table", "case"), BAD, ids=BAD_NAMES)
def test_bad(apiserver: ApiServer, place: str, table: dict[str, Any], case: dict[str, Any]) -> None:
    made = changed(table, case["change"])
    path = f"/apis/limpet.dev/v1alpha1/namespaces/{place}/{PLURALS[table['kind']]}?dryRun=All&fieldValidation=Ignore"
    taken = apiserver.request("POST", path, content=made).status_code == 201
    assert taken == case.get("only_on_laptop", False), "the API server and a laptop decide differently"
    if "kubectl" in case:
        # A set of lines: the API server goes through an object's fields in no order.
        refused = apiserver.apply(made, namespace=place).refused().splitlines()
        assert set(refused) == set(words(case, table["kind"]).splitlines())
    else:
        assert taken, "what the API server refuses belongs into the table, word by word"


DEFAULTS: dict[str, dict[str, Any]] = {
    # No firstByte: how long a vendor may think is the preset's to say.
    "Provider": {
        "timeouts": {"connect": "2s", "unstreamed": "10m", "idle": "120s"},
        "weight": 100,
        "drain": False,
        "promptCaching": "Off",
        "responseModel": "Requested",
    },
    "Pricing": {"currency": "USD"},
    "HealthProbe": {
        "interval": "30s",
        "timeout": "5s",
        "http": {"path": "/models", "expectedStatuses": ["200-299"]},
        "thresholds": {"failuresToDown": 3, "successesToUp": 2},
    },
    "StickyPolicy": {
        "models": ["*"],
        "mode": "Enforce",
        "identity": {"fingerprint": "FirstSystemAndUser"},
        "memory": {"ttl": "Provider", "maxProviders": 4},
        "failover": {"policy": "SaveRequest", "onTimeout": "Fail", "maxAttempts": 3},
        "spread": {"withinPercent": 25},
        "clientOrder": "Strict",
        "promptCaching": "Off",
        "routing": "Metadata",
    },
}


@pytest.mark.parametrize("table", TABLES.values(), ids=PLURALS)
def test_what_is_left_out_is_filled_in(apiserver: ApiServer, namespace: str, table: dict[str, Any]) -> None:
    apiserver.apply(changed(table, {}), namespace=namespace).ok()
    stored = apiserver.get(PLURALS[table["kind"]], "x", "--namespace", namespace)
    assert stored["spec"] == table["spec"] | DEFAULTS[table["kind"]]


def test_a_policy_needs_no_spec_at_all(apiserver: ApiServer, namespace: str) -> None:
    bare = {"apiVersion": "limpet.dev/v1alpha1", "kind": "StickyPolicy", "metadata": {"name": "bare"}}
    apiserver.apply(bare, namespace=namespace).ok()
    assert apiserver.get("sticky", "bare", "-n", namespace)["spec"] == DEFAULTS["StickyPolicy"]


def test_an_edit_to_something_wrong_is_refused_and_leaves_what_was(apiserver: ApiServer, namespace: str) -> None:
    apiserver.apply(changed(TABLES["providers.yaml"], {}), namespace=namespace).ok()
    patch = '{"spec": {"weight": -1}}'
    refused = apiserver.kubectl("patch", "provider", "x", "-n", namespace, "--type=merge", f"--patch={patch}").refused()
    assert refused == (
        'The Provider "x" is invalid: spec.weight: Invalid value: -1: '
        "spec.weight in body should be greater than or equal to 0"
    )
    assert apiserver.get("provider", "x", "-n", namespace)["spec"]["weight"] == 100
