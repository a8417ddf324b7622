"""An object is written after what it depends on, and removed before it."""

from limpet_operator.upkeep.steps import next_steps

ENTRY, RULE, ROUTE, FILTER = (
    (kind, "limpet", "a") for kind in ("ServiceEntry", "DestinationRule", "VirtualService", "EnvoyFilter")
)
OTHER = ("VirtualService", "limpet", "b")


def test_what_shares_a_host_or_a_provider_is_written_in_order_and_nothing_else_waits() -> None:
    wanted = {FILTER: ["alpha"], ROUTE: ["alpha", "a.example"], ENTRY: ["a.example"], OTHER: ["b.example"]}
    assert next_steps(wanted, {}) == {ENTRY, OTHER}
    del wanted[ENTRY]
    assert next_steps(wanted, {}) == {ROUTE, OTHER}
    del wanted[ROUTE]
    assert next_steps(wanted, {}) == {FILTER, OTHER}


def test_it_is_removed_in_reverse() -> None:
    wanted = {ENTRY: ["alpha"], RULE: ["alpha"], FILTER: ["alpha"], OTHER: ["beta"]}
    assert next_steps({}, wanted) == {FILTER, OTHER}
    assert next_steps({}, {ENTRY: ["alpha"], RULE: ["alpha"]}) == {RULE}


def test_what_is_about_nothing_in_particular_waits_for_nothing() -> None:
    assert next_steps({ENTRY: ["alpha"], FILTER: []}, {}) == {ENTRY, FILTER}
