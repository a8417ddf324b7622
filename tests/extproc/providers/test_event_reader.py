"""One event that cannot be read costs only itself, and whatever comes is read without an error."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.providers.event_reader import read_json, read_msgpack
from limpet_extproc.providers.events import AttemptFailed, TrialBegan

GOOD = b'["TrialBegan","a","m"]'
HUGE = b"1" + b"0" * 400


@pytest.mark.parametrize("event", [
    b'["ProviderSang","a"]',
    b'["AttemptFailed","\xff"]',
    b'["AttemptFailed","a","m","NewCause"]',
    b'["AttemptFailed","a","m","",1e999]',
    b'["AttemptSucceeded","a","m",[-1.0,0,null,0],0]',
    b'["AttemptSucceeded","a","m",[1.0,%s,null,0],0]' % HUGE,
    b'["AnswerGenerated","a",%s,1.0]' % HUGE,
    b'["UseReported","a","w",%s,1,1]' % HUGE,
    b'["UseReported","a","w",1,1000000001,1]',
    b'["UseReported","a","w",-1,1,1]',
    b'["RequestEnded","a",1.0,0]',
    b'["EventsMissed"]',
])  # fmt: skip
def test_an_event_that_makes_no_sense_drops_only_itself(event: bytes) -> None:
    read = read_json(b"[" + GOOD + b"," + event + b"," + GOOD + b"]")
    assert read.events == [TrialBegan("a", "m")] * 2
    assert read.unread == 1
    assert read.error is not None


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'"\xff"', b"[" + GOOD])
def test_what_is_no_list_of_events_is_one_that_is_not_read(data: bytes) -> None:
    assert read_json(data)[:2] == ([], 1)


@pytest.mark.parametrize("event", [["RequestSent", "a", 1.0, -1], ["RequestEnded", "a", 1.0, -1_000_000_001]])
def test_what_siblings_ask_for_has_bounds(event: list[object]) -> None:
    assert read_msgpack(msgspec.msgpack.encode([event]))[:2] == ([], 1)


def test_a_datagram_loses_only_what_cannot_be_read() -> None:
    data = msgspec.msgpack.encode([AttemptFailed("a"), ["ProviderSang", "a"], TrialBegan("b")])
    assert read_msgpack(data)[:2] == ([AttemptFailed("a"), TrialBegan("b")], 1)


@given(st.binary(max_size=30))
def test_whatever_comes_is_no_error(noise: bytes) -> None:
    for data in (noise, b'[["AttemptFailed","' + noise + b'"]]'):
        read_json(data)
        read_msgpack(data)
