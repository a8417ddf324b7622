"""Records and providers as lines."""

import pytest

from limpet_activity.terminal.lines import (
    ListedAttempt,
    ListedError,
    ListedGroup,
    ListedProvider,
    ListedRecord,
    ListedReport,
    ListedSpan,
    ListedSums,
    ProviderList,
    ago,
    plain,
    record_line,
    status_lines,
)


@pytest.mark.parametrize(
    ("record", "shown"),
    [
        (
            ListedRecord(
                "r1",
                0.0,
                "sticky.hit",
                200,
                1.25,
                conversation="c0ffee0123456789",
                model="small",
                client="team-a",
                provider="alpha",
                attempts=(ListedAttempt("beta", "failed", 503, "ServerError"), ListedAttempt("alpha", "ok", 200)),
                prompt_tokens=5000,
                cached_tokens=4096,
                cause="partial(4096)",
                paid_usd=0.0123,
            ),
            (
                "c0ffee01  small  team-a  sticky.hit  beta 503 ServerError > alpha 200"
                "  4,096 of 5,000 tokens cached (partial(4096))  $0.012300  1.25 s"
            ),
        ),
        (
            ListedRecord("r2", 0.0, "refused.unknown_model", 404, 0.01, path="/v1/chat/completions", error="model"),
            "/v1/chat/completions  refused.unknown_model  404  0.01 s  model",
        ),
        (
            ListedRecord("r3", 0.0, "off.spread", 200, 2.0, conversation="ab", prompt_tokens=10, paid_usd=0.0),
            "ab  off.spread  200  10 tokens, cache unreported  $0.0000  2.00 s",
        ),
        (ListedRecord("r4", 0.0, "", 0, 0.5), "-  -  no answer  0.50 s"),
    ],
)
def test_a_record_is_one_line(record: ListedRecord, shown: str) -> None:
    assert record_line(record).partition("  ")[2] == shown


def test_what_a_client_wrote_moves_no_cursor() -> None:
    line = record_line(ListedRecord("r", 0.0, "x", 200, 0.0, model="\x1b[2Jgpt\n" + "y" * 200))
    assert "\x1b" not in line
    assert "\n" not in line
    assert plain("é") == "é"


def test_what_a_provider_is_said_to_be_moves_no_cursor_either() -> None:
    escape = "\x1b]0;mine\x07"
    found = ProviderList(
        seen=(ListedProvider(ListedReport("alpha", f"down{escape}", escape, 40.0), "gw-1", 100.0),),
        verdicts=(ListedSpan("alpha", "down", escape, 40.0),),
    )
    assert all(line.isprintable() for line in status_lines(found, 100.0))


@pytest.mark.parametrize("time_s", [1e300, -1e300, 1e18, float("inf"), float("nan")])
def test_a_time_that_no_calendar_has_is_shown_as_it_is(time_s: float) -> None:
    assert record_line(ListedRecord("r", time_s, "x", 200, 0.0)).startswith(f"{time_s:g} s  ")


def test_the_worst_verdict_of_all_gateways_counts_and_the_last_trouble_is_named() -> None:
    found = ProviderList(
        seen=(
            ListedProvider(ListedReport("alpha", "up", warm_conversations=7), "gw-1", 100.0),
            ListedProvider(ListedReport("alpha", "down", "Timeout", 40.0, warm_conversations=3), "gw-2", 100.0),
            ListedProvider(ListedReport("beta", "up", draining=True), "gw-1", 100.0),
        ),
        verdicts=(ListedSpan("alpha", "down", "Timeout", 40.0), ListedSpan("beta", "degraded", "", 10.0)),
        sums=(
            ListedGroup("alpha", ListedSums(1200, 1000, 900, 1.5, 2.0)),
            ListedGroup("", ListedSums(3)),
            ListedGroup("retired", ListedSums(1, 10, 0, 0.0, 0.0)),
        ),
    )
    head, alpha, beta, retired = status_lines(found, 100.0)
    assert head.split() == [
        "provider",
        "verdict",
        "requests",
        "cached",
        "paid",
        "not",
        "sticky",
        "warm",
        "last",
        "trouble",
    ]
    assert alpha.split("  ")[0] == "alpha"
    assert [cell.strip() for cell in alpha.split("  ") if cell.strip()] == [
        "alpha",
        "down (Timeout) for 1 min",
        "1,200",
        "90.0%",
        "$1.5000",
        "$2.0000",
        "7",
        "Timeout 1 min ago",
    ]
    assert "up, draining" in beta
    assert "degraded 2 min ago" in beta
    assert "gone" in retired


def test_the_last_error_is_trouble_too_if_it_is_newer_than_the_last_bad_verdict() -> None:
    found = ProviderList(
        seen=(ListedProvider(ListedReport("alpha", "up"), "gw-1", 100.0),),
        verdicts=(ListedSpan("alpha", "down", "Timeout", 40.0),),
        last_errors={"alpha": ListedError(60.0, 503, "ServerError")},
    )
    assert list(status_lines(found, 100.0))[1].endswith("ServerError 503 40 s ago")


def test_reports_that_are_old_say_so() -> None:
    found = ProviderList(seen=(ListedProvider(ListedReport("alpha", "up"), "gw-1", 100.0),))
    assert len(list(status_lines(found, 130.0))) == 2
    last = list(status_lines(found, 100.0 + 3 * 3600))[-1]
    assert last == "As of 3 h ago: no gateway has reported since, so none may be running."


def test_before_any_report_it_says_so() -> None:
    assert list(status_lines(ProviderList(), 0.0)) == ["No gateway has reported a provider yet."]


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0 s"), (59, "59 s"), (60, "1 min"), (7200, "2 h"), (200_000, "2 d")]
)
def test_times_are_rounded(seconds: float, shown: str) -> None:
    assert ago(seconds) == shown
