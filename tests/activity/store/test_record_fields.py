"""Records as named fields."""

import json
from math import inf, nan

import msgspec
import pytest
from tests.activity.export.records import RECORD

from limpet_activity.store.record_fields import record_fields
from limpet_extproc.contract.activity import ActivityRecord


def test_what_is_known_stands_under_its_own_name_and_the_rest_is_left_out() -> None:
    fields = record_fields(msgspec.structs.replace(RECORD, status=0, streamed=False, cached_tokens=0))
    assert fields["time"] == "2023-11-14T22:13:20.500Z"
    assert (fields["id"], fields["status"], fields["streamed"], fields["cached_tokens"]) == ("1f0c", 0, False, 0)
    assert fields["attempts"] == [
        {
            "provider": "alpha",
            "outcome": "failed",
            "status": 503,
            "cause": "ServerError",
            "begun_s": 0.1,
            "took_s": 0.4,
        },
        {"provider": "deepseek-eu", "outcome": "ok", "status": 200, "begun_s": 0.5, "took_s": 1.5},
    ]
    assert fields["considered"] == [{"provider": "alpha", "passed_over": "down", "warm_until_s": 0.0}]
    assert not {"enforce_reason", "observed_usd", "traceparent"} & fields.keys()


@pytest.mark.parametrize("time_s", [nan, inf, -1e300, 1e300])
def test_an_absurd_time_is_left_to_its_number(time_s: float) -> None:
    fields = record_fields(ActivityRecord("a", time_s, "g", "r", 200, 1.0))
    assert "time" not in fields
    assert "time_s" in json.loads(msgspec.json.encode(fields))
