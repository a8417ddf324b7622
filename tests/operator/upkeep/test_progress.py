"""What a Provider's status says of the mesh."""

from dataclasses import replace

from limpet_operator.mesh.istio_object import IstioObject
from limpet_operator.upkeep.progress import Progress, findings_of

ENTRY = IstioObject("ServiceEntry", "limpet", "a", "limpet.g", ("alpha",), "", {"hosts": ["a.example"]})
ROUTE = replace(ENTRY, kind="VirtualService")
FINE = Progress(True, False, None, {ENTRY.key: ENTRY, ROUTE.key: ROUTE}, (), frozenset(), {})


def told(progress: Progress, *, accepted: bool = True) -> tuple[str, str]:
    found = findings_of(progress, {"alpha": accepted})["alpha"]
    return found.status, found.reason


def test_a_provider_is_meshed_once_all_of_its_objects_are_there() -> None:
    assert told(FINE) == ("True", "Meshed")
    assert told(replace(FINE, outstanding=frozenset({ROUTE.key}))) == ("Unknown", "Pending")
    assert told(replace(FINE, outstanding=frozenset({("VirtualService", "limpet", "b")}))) == ("True", "Meshed")


def test_nothing_is_claimed_before_the_cluster_was_read() -> None:
    assert told(replace(FINE, known=False)) == ("Unknown", "Pending")


def test_a_host_that_no_route_can_name_is_told() -> None:
    assert told(replace(FINE, wanted={ENTRY.key: ENTRY})) == ("False", "NotRoutable")


def test_a_provider_that_is_left_out_has_no_objects_to_wait_for() -> None:
    assert told(FINE, accepted=False) == ("Unknown", "NotAccepted")
