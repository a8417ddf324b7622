"""Records as JSON objects: the same in the page's answers and in lines for log shippers."""

import json
from math import inf, nan

import msgspec
import pytest
from tests.activity.export.records import RECORD

from limpet_activity.store.objects import as_json
from limpet_extproc.contract.activity import ActivityRecord


def test_all_fields_stand_under_their_own_names_and_what_is_not_known_is_null() -> None:
    record = msgspec.structs.replace(RECORD, status=0, streamed=False, cached_tokens=0)
    fields = json.loads(as_json(record))
    assert list(fields) == ["time", *ActivityRecord.__struct_fields__]
    assert fields["time"] == "2023-11-14T22:13:20.500Z"
    assert (fields["id"], fields["status"], fields["streamed"], fields["cached_tokens"]) == ("1f0c", 0, False, 0)
    assert (fields["observed_usd"], fields["traceparent"]) == (None, "")
    assert [tried["provider"] for tried in fields["attempts"]] == ["alpha", "deepseek-eu"]
    assert fields["considered"] == [
        {"provider": "alpha", "passed_over": "down", "warm_tokens": None, "usd": None, "warm_until_s": 0.0}
    ]


def test_records_within_others_are_the_same() -> None:
    assert json.loads(as_json({"turns": (RECORD,)})) == {"turns": [json.loads(as_json(RECORD))]}


@pytest.mark.parametrize("time_s", [nan, inf, -1e300, 1e300])
def test_an_absurd_time_is_left_to_its_number(time_s: float) -> None:
    fields = json.loads(as_json(ActivityRecord("a", time_s, "g", "r", 200, 1.0)))
    assert fields["time"] is None
    assert "time_s" in fields
