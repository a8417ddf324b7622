"""A terminal's lines about providers: one when something begins, one when it is over, in the words of conditions."""

import pytest

from limpet_operator.fleet.view import Traffic
from limpet_operator.laptop.traffic_lines import traffic_lines

UP = Traffic("up", "up", 0.0)
NO_KEY = Traffic("up", "up", 0.0, cause="CredentialRefused", status=401, message="Incorrect API key provided")
OUT_NO_KEY = Traffic("down", "down", 9.0, cause="CredentialRefused", status=401, message="Incorrect API key provided")
NO_MODEL = Traffic("up", "up", 0.0, cause="ModelNotFound", status=404, message="no model acme-2")
OUT = Traffic("down", "down", 9.0, cause="ServerError", status=500, message="oops")
LIMITED = Traffic("down", "over_limit", 9.0, cause="Limited", status=429)


@pytest.mark.parametrize(
    ("before", "now", "lines"),
    [
        (None, None, []),
        (None, UP, []),
        (UP, UP, []),
        (None, NO_KEY, ['a: CredentialRefused: it rejects the API key: 401 "Incorrect API key provided"; correct']),
        (NO_KEY, NO_KEY, []),
        (NO_KEY, OUT_NO_KEY, ["a is out: it rejects the API key: 401"]),
        (OUT_NO_KEY, UP, ["a is back: its last requests were answered"]),
        (UP, NO_MODEL, ["a: ModelNotFound: it does not know a requested model or path: 404"]),
        (UP, OUT, ['a: Failing (out): requests failed several times in a row, the last with 500 "oops"; it is tried']),
        (UP, LIMITED, ["a: OverLimit (out): it is rate-limiting us (429), and others take its requests"]),
        (OUT, LIMITED, ["a: OverLimit (out): "]),
        (LIMITED, UP, ["a is back"]),
    ],
)
def test_a_line_where_something_begins_changes_or_ends(
    before: Traffic | None, now: Traffic | None, lines: list[str]
) -> None:
    lines_now = list(traffic_lines({"a": before} if before else {}, {"a": now, "z": UP} if now else {"z": UP}))
    assert len(lines_now) == len(lines)
    assert all(line.startswith(begin) for line, begin in zip(lines_now, lines, strict=True))
