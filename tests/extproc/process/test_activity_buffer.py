"""What waits for the activity service: nothing is lost below the bound, and above it what is lost is counted."""

from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.activity import MOST_RECORDS, ActivityRecord, ProviderReport, decode_batch
from limpet_extproc.process.activity_buffer import ActivityBuffer, BatchSource

SOURCE = BatchSource("gateway-0", 2, 1000.0)


def record(number: int) -> ActivityRecord:
    return ActivityRecord(f"{number:08x}", 1001.0, "gateway-0", "sticky.hit", 200, 0.5)


def filled(buffer: ActivityBuffer, first: int, count: int) -> None:
    for number in range(first, first + count):
        buffer.add(record(number))


def taken(buffer: ActivityBuffer) -> list[str]:
    names: list[str] = []
    while (batch := buffer.oldest()) is not None:
        names += [each.id for each in decode_batch(batch.data).records]
        buffer.taken()
    return names


def test_a_batch_says_whose_it_is_and_what_was_dropped_before() -> None:
    buffer = ActivityBuffer(SOURCE)
    filled(buffer, 0, 2)
    buffer.seal(1002.0, (ProviderReport("a", "up"),))
    sent = buffer.oldest()
    assert sent is not None
    batch = decode_batch(sent.data)
    assert (batch.gateway, batch.worker, batch.started_s, batch.sent_s) == ("gateway-0", 2, 1000.0, 1002.0)
    assert (len(batch.records), batch.dropped, [each.provider for each in batch.providers]) == (2, 0, ["a"])


def test_nothing_to_tell_makes_no_batch() -> None:
    buffer = ActivityBuffer(SOURCE)
    buffer.seal(1002.0)
    assert buffer.oldest() is None


def test_a_batch_that_is_full_waits_for_nobody() -> None:
    buffer = ActivityBuffer(SOURCE)
    filled(buffer, 0, MOST_RECORDS + 1)
    assert (batch := buffer.oldest()) is not None
    assert batch.records == MOST_RECORDS
    assert buffer.waiting == MOST_RECORDS + 1


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(200, 5000), st.data())
def test_each_record_is_taken_once_or_counted_as_dropped(
    sizes: list[int], most_bytes: int, data: st.DataObject
) -> None:
    buffer, first, got = ActivityBuffer(SOURCE, most_bytes), 0, list[str]()
    for size in sizes:
        filled(buffer, first, size)
        first += size
        buffer.seal(1002.0)
        on_its_way = buffer.oldest()
        filled(buffer, first, 1)
        first += 1
        buffer.seal(1002.0)
        assert on_its_way is None or buffer.oldest() is on_its_way, "what is on its way stays"
        assert buffer.waiting_bytes <= most_bytes or buffer.waiting <= 31
        if on_its_way is not None and data.draw(st.booleans()):
            got += [each.id for each in decode_batch(on_its_way.data).records]
            buffer.taken()
    got += taken(buffer)
    assert len(set(got)) == len(got)
    assert got == sorted(got), "the oldest come first"
    assert len(got) + buffer.dropped == first


def test_what_is_refused_counts_as_dropped_and_the_next_batch_says_so() -> None:
    buffer = ActivityBuffer(SOURCE)
    filled(buffer, 0, 3)
    buffer.seal(1002.0)
    buffer.refused()
    filled(buffer, 3, 1)
    buffer.seal(1003.0)
    assert (batch := buffer.oldest()) is not None
    assert decode_batch(batch.data).dropped == 3


def test_a_minute_at_200_requests_a_second_fits() -> None:
    buffer = ActivityBuffer(SOURCE)
    filled(buffer, 0, 60 * 200)
    buffer.seal(1060.0)
    assert (buffer.dropped, len(taken(buffer))) == (0, 60 * 200)
