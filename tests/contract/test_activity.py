"""The records that workers hand over."""

import msgspec
import pytest

from limpet_extproc.contract.activity import (
    VERSION,
    ActivityBatch,
    ActivityRecord,
    BatchError,
    ConsideredProvider,
    ProviderReport,
    ShownPrice,
    TriedProvider,
    decode_batch,
    encode_batch,
)

RECORD = ActivityRecord(
    "1f0c", 1_700_000_000.5, "laptop", "sticky.hit", 200, 0.8, considered=(ConsideredProvider("beta", "down"),)
)


def test_a_batch_comes_out_as_it_went_in() -> None:
    tried = msgspec.structs.replace(RECORD, attempts=(TriedProvider("alpha", "ok", 200),))
    report = ProviderReport("alpha", "up", prices=(ShownPrice("small", 1.0, 2.0, 0.1, 1.25),))
    batch = ActivityBatch(VERSION, "laptop", 0, 3, 12.0, (RECORD, tried), (report,), 13.0)
    read = decode_batch(encode_batch(batch))
    assert [each.id for each in read.records] == ["1f0c", "1f0c"]
    assert read.records[1].attempts[0] == TriedProvider("alpha", "ok", 200)
    assert (read.providers[0].prices[0].cache_write, read.dropped) == (1.25, 3)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "not a batch"),
        (b"\xc1", "not a batch"),
        (b"\x90", "not a batch"),
        (msgspec.msgpack.encode([VERSION + 1, "a later"]), "upgrade both sides"),
        (msgspec.msgpack.encode([VERSION, "laptop", "no number"]), "not a batch"),
        (msgspec.msgpack.encode({"version": VERSION}), "not a batch"),
    ],
)
def test_what_is_no_batch_says_why(data: bytes, why: str) -> None:
    with pytest.raises(BatchError, match=why):
        decode_batch(data)
