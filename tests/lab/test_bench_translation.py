"""`limpet bench translation`: its two Providers, and what it makes of the times."""

import json

import pytest

from limpet_lab.bench.translation import KINDS, body, configuration, report, table
from limpet_operator.resources.objects import Parser
from limpet_operator.resources.provider import Provider


def test_one_provider_is_native_and_the_other_translated() -> None:
    parsed = [Parser.load().parse(each) for each in configuration(1234)]
    assert all(isinstance(each, Provider) for each in parsed)
    assert [bool(each.translated) for each in parsed if isinstance(each, Provider)] == [False, True]


def test_a_request_has_about_its_size() -> None:
    written = body("native-10", 100_000, stream=True)
    assert len(written) == pytest.approx(100_000, rel=0.01)
    assert json.loads(written)["stream"] is True


def test_medians_are_compared() -> None:
    taken = {"native": [0.001, 0.002, 0.9], "translated": [0.004, 0.003, 0.002]}
    assert list(KINDS) == ["native", "translated"]
    result = report({"2KB": taken}, taken, taken)
    entry = {"native_ms": 2.0, "translated_ms": 3.0, "added_ms": 1.0}
    assert result["first_byte"]["2KB"] == result["whole"]["2KB"] == pytest.approx(entry)
    assert list(result["stream"]) == ["native_ms_per_mb", "translated_ms_per_mb", "added_ms_per_mb"]
    assert table(result).row_count == 3
