"""The line that a person reads with `--verbose`."""

import pytest
from msgspec.structs import replace

from limpet_extproc.attempt import Attempt
from limpet_extproc.decision_line import decision_line
from limpet_extproc.record import Record
from limpet_extproc.usage import Usage


def record(would: str | None = None) -> Record:
    return Record("0123456789abcdef", "flash", "x", "sticky.hit", would, ("a", "b", "c"), (1, 1, 1), 0.0, 10, 4, True)


@pytest.mark.parametrize(
    ("would", "provider", "status", "usage", "line"),
    [
        (None, "a", 200, Usage(5000, 4096, 3), "sticky.hit  a  200  4096 of 5000 tokens cached"),
        (None, "b", 200, Usage(5000, 0, 3), "sticky.hit  a 401 > b  200  0 of 5000 tokens cached"),
        (None, "a", 200, Usage(5000, None, 3), "sticky.hit  a  200  5000 tokens, cache unreported"),
        (None, "x", 500, None, "sticky.hit  x  500  usage unreported"),
        (None, "a", 0, None, "sticky.hit  a  no answer  usage unreported"),
        ("first.scored", "a", 200, None, "sticky.hit (would be first.scored)  a  200  usage unreported"),
    ],
)
def test_a_line_says_where_it_went_why_and_what_was_cached(
    would: str | None, provider: str, status: int, usage: Usage | None, line: str
) -> None:
    refused = Attempt("a", "flash", 401, "failed", "CredentialRefused")
    attempts = (refused, Attempt("b", "flash", 200, "ok")) if provider == "b" else ()
    assert decision_line(record(would), provider, status, usage, 1.5, attempts) == f"01234567  flash  {line}  1.500 s"


def test_a_line_names_who_was_passed_over_and_why() -> None:
    left_out = replace(record(), excluded={"d": "down", "e": "draining"})
    line = decision_line(left_out, "b", 200, None, 0.0)
    assert "  b, without d (down), without e (draining)  200  " in line
