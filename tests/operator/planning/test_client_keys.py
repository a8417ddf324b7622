"""The clients of all Secrets: the first of a name or a key counts, a bad entry costs itself alone."""

from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_extproc.contract.client_keys import digest_of
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.resources.problem import ObjectKey

ONE, TWO = "lpk-one-0123456789", "lpk-two-0123456789"


def _secret(name: str, namespace: str = "default", **entries: str) -> dict[str, Any]:
    labels = {"limpet.dev/client-keys": "true"}
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": entries}


def _clients(planned: Plan) -> dict[str, list[str]]:
    known = {digest_of(key).hex(): key for key in (ONE, TWO)}
    return {each.name: [known[digest] for digest in each.digests] for each in planned.client_keys}


def _said(planned: Plan, name: str, namespace: str = "default") -> tuple[bool, str]:
    found = planned.findings[ObjectKey("Secret", namespace, name)].accepted
    return found.ok, found.message


def test_a_labelled_secret_names_clients_and_any_other_none(build: Build) -> None:
    planned = build.plan(_secret("clients", laptop=ONE, robot=TWO), build.secret("other", laptop=TWO))
    assert _clients(planned) == {"laptop": [ONE], "robot": [TWO]}
    assert _said(planned, "clients") == (True, "used as written; keys of 2 clients")
    assert ObjectKey("Secret", "default", "other") not in planned.findings
    assert ONE not in repr(planned)


@pytest.mark.parametrize(
    ("secrets", "clients", "words"),
    [
        ([("b", {"bad": "short", "laptop": ONE})], {"laptop": [ONE]}, "bad: has a key of 5 characters"),
        ([("b", {"bad": "short"})], {}, "bad: has a key of 5 characters"),
        ([("a", {"laptop": ONE}), ("b", {"laptop": TWO})], {"laptop": [ONE]}, "Secret a has a client of this name"),
        ([("a", {"laptop": ONE}), ("b", {"robot": ONE})], {"laptop": [ONE]}, "robot: its key is that of laptop"),
        ([("b", {"laptop": ONE, "robot": f"{ONE} {TWO}"})], {"laptop": [ONE], "robot": [TWO]}, "that of laptop"),
    ],
)
def test_a_bad_entry_costs_itself_alone(
    build: Build, secrets: list[tuple[str, dict[str, str]]], clients: dict[str, list[str]], words: str
) -> None:
    planned = build.plan(*(_secret(name, **entries) for name, entries in secrets))
    assert _clients(planned) == clients
    ok, message = _said(planned, "b")
    assert not ok
    assert words in message
    assert ONE not in message


@pytest.mark.parametrize("key", [ONE, f"lpk-{'0a' * 32}", "0a" * 32, "a key with spaces 0123456789"])
def test_a_key_on_the_side_of_the_name_is_not_shown(build: Build, key: str) -> None:
    planned = build.plan(_secret("b", **{key: "laptop-of-anna-smith", "laptop": TWO, "unknown": f"{ONE}: [a]"}))
    assert _clients(planned) == {"laptop": [TWO]}
    ok, message = _said(planned, "b")
    assert not ok
    assert "[key]: a client's name" in message
    assert key not in message
    assert ONE not in message


def test_only_the_gateways_own_namespace_gives_keys(build: Build) -> None:
    objects = build.objects(_secret("a", "team", laptop=ONE), _secret("b", "limpet", robot=TWO))
    assert _clients(plan(objects, {}, keys_in="limpet")) == {"robot": [TWO]}
    assert _clients(plan(objects, {})) == {"laptop": [ONE], "robot": [TWO]}
