"""What is shown of a fault, to people and to programs."""

import json
from math import inf

import pytest
from rich.console import Console
from tests.lab.faults.exchanges import broken, exchange, outcome

from limpet_lab.bench.faults.campaign import Played
from limpet_lab.bench.faults.flaky import FlakyRun
from limpet_lab.bench.faults.rows import as_json, row_of, row_of_flaky
from limpet_lab.bench.faults.show import line, table
from limpet_lab.bench.faults.table import FAULTS

GOOD = FlakyRun(requests=100, client_errors=0, extra_attempts=3, most_switches=2, returns=0, cached_share=0.9)
ALWAYS = FlakyRun(requests=100, client_errors=0, extra_attempts=50, most_switches=9, returns=9, cached_share=0.8)


def played(name: str, *exchanges: object, **notes: float | str) -> Played:
    fault = next(each for each in FAULTS if each.name == name)
    result = outcome(*exchanges, **notes)  # type: ignore[arg-type]
    missed = tuple((bar, seen) for bar in fault.bars if (seen := bar.missed(result)) is not None)
    return Played(fault, result, missed)


def test_programs_get_the_figures_of_every_fault_and_the_errors_of_all() -> None:
    rows = [
        row_of(played("redis_flushed", exchange(5), exchange(15), broken(16))),
        row_of(played("hangs", exchange(5), exchange(11, attempts=2), exchange(12))),
    ]
    figures = json.loads(json.dumps(as_json(rows, 7)))
    assert (figures["seed"], figures["client_errors_total"]) == (7, 1)
    flushed, hangs = figures["faults"]
    assert (flushed["name"], flushed["held"], flushed["requests"], flushed["client_errors"]) == (
        "redis_flushed", False, 3, 1,
    )  # fmt: skip
    assert flushed["missed"][0].startswith("no client sees an error: 1 errors")
    assert hangs["held"]
    assert (hangs["moved_s"], hangs["extra_attempts"], hangs["told_by"]) == (0.0, 1, 0)
    assert hangs["cached_share"] == {"before": 0.9, "during": 0.9, "after": None}


def test_what_never_came_is_null() -> None:
    row = row_of(played("planes_killed_then_changed", exchange(5), arrived_s=inf))
    assert as_json([row], 1)["faults"][0]["notes"] == {"arrived_s": None}
    assert line(row).splitlines() == [
        "planes_killed_then_changed: MISSED",
        "    the change arrives after the restart: inf s",
    ]


@pytest.mark.parametrize(
    ("ours", "missed"),
    [
        (GOOD, []),
        (FlakyRun(100, 1, 3, 2, 0, 0.9), ["no client sees an error: 1 did"]),
        (FlakyRun(100, 0, 3, 3, 0, 0.9), ["at most 2 switches a conversation: one had 3"]),
        (
            FlakyRun(100, 0, 3, 2, 0, 0.8),
            ["cached share above that of a router which always tries it first: 0.800 and 0.800"],
        ),
    ],
)
def test_the_simulated_fault_has_bars_of_its_own(ours: FlakyRun, missed: list[str]) -> None:
    assert list(row_of_flaky(ours, ALWAYS).missed) == missed


def test_the_table_has_a_line_for_each_fault() -> None:
    console = Console(width=150, record=True, quiet=False)
    console.print(table([row_of(played("hangs", exchange(5), exchange(11, attempts=2))), row_of_flaky(GOOD, ALWAYS)]))
    lines = console.export_text().splitlines()
    assert any(each.split()[:4] == ["hangs", "2", "0", "1"] and each.split()[-1] == "held" for each in lines)
    assert any(each.split()[:2] == ["fails_every_second_request", "100"] for each in lines)
