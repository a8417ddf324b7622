"""`limpet bench features`: what it makes of its turns."""

from importlib.resources import files

import pytest

from limpet_lab.bench.features import Slice, lines, summary
from limpet_lab.bench.latency_load import CLIENT_KEY


def _turn(envoy: float, extproc: float, activity: float | None = None) -> Slice:
    return Slice(100, {"envoy": envoy, "extproc": extproc, **({} if activity is None else {"activity": activity})})


def test_a_pair_has_a_ratio_of_its_own_however_busy_the_machine_was() -> None:
    pairs = [(_turn(100.0 * busy, 100.0 * busy), _turn(104.0 * busy, 102.0 * busy, 9.0)) for busy in (1, 2, 7)]
    found = summary(pairs)
    assert found["ratio"]["median"] == pytest.approx(1.03)
    assert (found["without"], found["pairs"]) == ({"envoy_us": 200.0, "extproc_us": 200.0}, 3)
    assert found["with"]["activity_us"] == 9.0
    assert "+3.0 % with them (+3.0 to +3.0 %, 3 pairs, 600 requests)" in lines(found)[-1]


def test_a_pair_that_something_disturbed_moves_the_median_no_further_than_the_next() -> None:
    pairs = [(_turn(100.0, 100.0), _turn(100.0 + number, 100.0 + number)) for number in range(100)]
    pairs[0] = _turn(100.0, 100.0), _turn(9_000.0, 9_000.0)
    found = summary(pairs)["ratio"]
    assert found["median"] == pytest.approx(1.505)
    assert (found["low"], found["high"]) == (pytest.approx(1.41), pytest.approx(1.6))


def test_the_load_has_the_key_of_the_gateways_client() -> None:
    assert f'"Bearer {CLIENT_KEY}"' in files("limpet_lab.bench").joinpath("latency_wrk.lua").read_text()
