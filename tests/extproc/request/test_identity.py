"""How a conversation is recognised: the ladder in its order, and what a key depends on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.envoy import READ_HEADERS, SESSION_HEADERS
from limpet_extproc.dialects.port import ParsedRequest
from limpet_extproc.request.identity import KEY_BYTES, MAX_SESSION_CHARS, conversation, key, tenant

EVERYTHING = {
    "x-mine": "mine",
    "x-session-id": "explicit",
    **{name: f"by {name}" for name in SESSION_HEADERS if name != "x-session-id"},
    "user-agent": "codex_cli_rs/0.50",
    "thread-id": "codex thread",
    "session-id": "codex",
    "session_id": "codex too",
}
AGENTS = [name for name in SESSION_HEADERS if name != "x-session-id"]
CODEX = ["thread-id", "session-id", "session_id"]
LADDER = ["x-mine", "x-session-id", "body session_id", *AGENTS, *CODEX, "metadata.user_id", "prompt_cache_key"]
"""From the strongest identified_by to the weakest; after all of them comes the fingerprint."""


def request(session_id: str | None = None, **hints: str) -> ParsedRequest:
    return ParsedRequest("m", b"opener", session_id, tuple(hints.items()))


@pytest.mark.parametrize("missing", range(len(LADDER) + 1))
def test_each_sign_counts_when_all_stronger_ones_are_missing(missing: int) -> None:
    left = LADDER[missing:]
    headers = {name: value for name, value in EVERYTHING.items() if name in left or name == "user-agent"}
    fields = {
        name.removeprefix("body "): "in the body"
        for name in left
        if name in ("body session_id", "metadata.user_id", "prompt_cache_key")
    }
    identified_by, value = conversation(headers, request(**fields), ["x-mine"])
    strongest = left[0] if left else "fingerprint"
    assert identified_by == {"x-mine": "header:x-mine", "body session_id": "session_id"}.get(strongest, strongest)
    if strongest in headers:
        assert value == EVERYTHING[strongest].encode()


def test_configured_headers_come_first_in_their_own_order() -> None:
    headers = {"x-a": "1", "x-b": "2", "x-session-id": "3"}
    assert conversation(headers, request(), ["x-b", "x-a"]) == ("header:x-b", b"2")
    assert conversation(headers, request(), ["x-gone", "x-a"]) == ("header:x-a", b"1")


@pytest.mark.parametrize(
    ("agent", "identified_by"),
    [
        ("codex_cli_rs/0.50", "session_id"),
        ("Codex/1.0 (macOS)", "session_id"),
        ("curl/8", "fingerprint"),
        ("", "fingerprint"),
    ],
)
def test_bare_session_headers_are_believed_from_codex_only(agent: str, identified_by: str) -> None:
    assert conversation({"user-agent": agent, "session_id": "s"}, request(), [])[0] == identified_by


CLAUDE = "x-claude-code-session-id"


def test_a_subagent_of_a_session_is_a_conversation_of_its_own() -> None:
    main, one, same, other, elsewhere = (
        conversation({CLAUDE: session, "x-claude-code-agent-id": agent}, request(), [])
        for session, agent in (("s", ""), ("s", "a"), ("s", "a"), ("s", "b"), ("t", "a"))
    )
    assert one == same
    assert len({main, one, other, elsewhere}) == 4
    assert {name for name, _ in (main, one, other, elsewhere)} == {CLAUDE}
    assert main == conversation({CLAUDE: "s"}, request(), [])


def test_an_agent_alone_names_nothing_and_the_clients_own_name_holds_for_all_of_them() -> None:
    agent = {"x-claude-code-agent-id": "a"}
    assert conversation({**agent, "x-session-id": "mine"}, request(), []) == ("x-session-id", b"mine")
    assert conversation({**agent, "x-opencode-session": "s"}, request(), []) == ("x-opencode-session", b"s")
    assert conversation(agent, request(), [])[0] == "fingerprint"


@pytest.mark.parametrize(
    ("value", "usable"),
    [("s", True), ("s" * MAX_SESSION_CHARS, True), ("s" * (MAX_SESSION_CHARS + 1), False), ("", False)],
)
def test_empty_and_very_long_names_are_taken_for_something_else(value: str, usable: bool) -> None:
    signs = [
        conversation({"x-session-id": value}, request(), []),
        conversation({"x-mine": value}, request(), ["x-mine"]),
        conversation({}, request(session_id=value), []),
        conversation({}, request(prompt_cache_key=value), []),
    ]
    assert [identified_by != "fingerprint" for identified_by, _ in signs] == [usable] * 4


def test_without_any_name_the_opener_is_the_sign() -> None:
    assert conversation({}, ParsedRequest("m", b"hash of the opener"), []) == ("fingerprint", b"hash of the opener")


@pytest.mark.parametrize(
    ("headers", "owner"),
    [
        ({}, b""),
        ({"authorization": "Bearer a"}, b"Bearer a"),
        ({"x-api-key": "b"}, b"b"),
        ({"api-key": "c"}, b"c"),
        ({"x-goog-api-key": "d"}, b"d"),
        ({"authorization": "Bearer a", "x-api-key": "b"}, b"Bearer a"),
    ],
)
def test_the_tenant_is_the_clients_own_credential(headers: dict[str, str], owner: bytes) -> None:
    assert tenant(headers) == owner


def test_every_header_that_is_looked_at_is_asked_of_envoy() -> None:
    credentials = {"authorization", "x-api-key", "api-key", "x-goog-api-key"}
    assert credentials | {"user-agent", "content-encoding", *CODEX, "x-claude-code-agent-id"} <= {*READ_HEADERS}
    assert set(SESSION_HEADERS) <= {*READ_HEADERS}


PARTS = st.tuples(
    st.binary(max_size=3), st.text(max_size=3), st.text(max_size=3), st.text(max_size=3), st.binary(max_size=3)
)


@given(PARTS, PARTS)
def test_two_keys_are_equal_exactly_when_everything_they_stand_for_is(
    one: tuple[bytes, str, str, str, bytes], other: tuple[bytes, str, str, str, bytes]
) -> None:
    assert (key(b"secret", *one) == key(b"secret", *other)) == (one == other)


def test_parts_cannot_run_into_each_other() -> None:
    assert key(b"s", b"ab", "c", "m", "x", b"v") != key(b"s", b"a", "bc", "m", "x", b"v")


def test_a_key_is_short_and_tells_nothing_without_the_installations_secret() -> None:
    one, other = (key(secret, b"tenant", "user", "m", "x-session-id", b"v") for secret in (b"one", b"other"))
    assert one != other
    assert len(one) == KEY_BYTES


def test_no_user_is_the_same_as_an_empty_one() -> None:
    assert key(b"s", b"t", None, "m", "x", b"v") == key(b"s", b"t", "", "m", "x", b"v")
