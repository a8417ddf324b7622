"""An object is ours by its labels and its namespace, and as wanted if an apply would change nothing of ours."""

import copy
from typing import Any

from limpet_operator.mesh.gateway import MeshGateway
from limpet_operator.mesh.istio_object import istio_object
from limpet_operator.upkeep.ownership import is_as_wanted, is_kept, is_ours, owner_reference, written_body

GATEWAY = MeshGateway()
OBJECT = istio_object(GATEWAY, "VirtualService", "a.example", "", {"hosts": ["a.example"]}, ["alpha", "team/beta"])
OWNER = owner_reference(
    {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "limpet-operator", "uid": "uid-1", "namespace": "limpet"},
    }
)


def stored(**metadata: Any) -> dict[str, Any]:
    raw = copy.deepcopy(written_body(OBJECT, "v1", OWNER))
    raw["metadata"] |= {"uid": "u", "resourceVersion": "7", **metadata}
    return raw


def test_another_gateways_is_not_ours() -> None:
    assert is_ours(stored(), GATEWAY)
    assert not is_ours(stored(), MeshGateway(release="limpet-b"))
    assert not is_ours(stored(labels={}), GATEWAY)
    assert not is_ours(stored(namespace="apps"), GATEWAY)
    assert is_ours({**stored(namespace="apps"), "kind": "EnvoyFilter"}, GATEWAY)


def test_what_was_only_applied_by_hand_is_told_apart() -> None:
    assert not is_kept(stored())
    assert not is_kept(stored(managedFields=[{"manager": "kubectl", "operation": "Apply"}]))
    both = [{"manager": "kubectl", "operation": "Update"}, {"manager": "limpet-mesh", "operation": "Apply"}]
    assert is_kept(stored(managedFields=both))


def test_an_owner_is_named_without_its_namespace_which_is_that_of_what_it_owns() -> None:
    assert OWNER == {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "name": "limpet-operator",
        "uid": "uid-1",
    }


def test_fields_of_others_in_the_metadata_do_not_matter_and_a_changed_spec_does() -> None:
    body = written_body(OBJECT, "v1", OWNER)
    assert is_as_wanted(stored(), body)
    assert is_as_wanted(stored(labels=body["metadata"]["labels"] | {"team": "a"}), body)
    assert not is_as_wanted(stored(annotations={}), body)
    assert not is_as_wanted(stored(ownerReferences=[]), body)
    assert not is_as_wanted({**stored(), "spec": {"hosts": []}}, body)
