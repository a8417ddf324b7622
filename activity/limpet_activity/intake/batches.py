"""Batches as they come from the wire. One record that cannot be read does not take its batch with it. Pure."""

from typing import Final, NamedTuple, TypeVar

import msgspec

from limpet_extproc.contract.activity import (
    MOST_RECORDS,
    VERSION,
    ActivityBatch,
    ActivityRecord,
    BatchError,
    ProviderReport,
    decode_batch,
)

MOST_BYTES: Final = 8 * 1024 * 1024
"""Of a batch."""

_DecodedT = TypeVar("_DecodedT")


class ReadBatch(NamedTuple):
    """A batch, and how many of its records cannot be read."""

    batch: ActivityBatch
    unreadable: int


class OtherVersionError(BatchError):
    """A batch of another version of the contract, which would be read once both sides have been upgraded."""


class _LooseBatch(msgspec.Struct, frozen=True, array_like=True):
    version: int
    gateway: str
    worker: int
    dropped: int
    started_s: float
    records: list[msgspec.Raw] = []
    providers: list[msgspec.Raw] = []
    sent_s: float = 0.0


_LOOSE: Final = msgspec.msgpack.Decoder(_LooseBatch)
_RECORD: Final = msgspec.msgpack.Decoder(ActivityRecord)
_REPORT: Final = msgspec.msgpack.Decoder(ProviderReport)
_ANY: Final = msgspec.msgpack.Decoder(list[msgspec.Raw])


def read_batch(data: bytes) -> ReadBatch:
    """Raises BatchError for what cannot be taken, OtherVersionError for what another version could."""
    if len(data) > MOST_BYTES:
        raise BatchError(f"a batch of {len(data):,} bytes, and at most {MOST_BYTES:,} are taken at once: send less")
    try:
        read = ReadBatch(decode_batch(data), 0)
    except BatchError as error:
        if _version(data) not in (None, VERSION):
            raise OtherVersionError(str(error)) from error
        read = _read_loosely(data, error)
    records = len(read.batch.records) + read.unreadable
    if records > MOST_RECORDS:
        raise BatchError(f"a batch of {records:,} records, and at most {MOST_RECORDS:,} are taken at once: send less")
    return read


def _read_loosely(data: bytes, error: BatchError) -> ReadBatch:
    try:
        loose = _LOOSE.decode(data)
    except (msgspec.MsgspecError, RecursionError):
        raise error from None
    records, unreadable = _readable(_RECORD, loose.records)
    reports, _ = _readable(_REPORT, loose.providers)
    batch = ActivityBatch(
        loose.version, loose.gateway, loose.worker, loose.dropped, loose.started_s, records, reports, loose.sent_s
    )
    return ReadBatch(batch, unreadable)


def _readable(decoder: "msgspec.msgpack.Decoder[_DecodedT]", raws: list[msgspec.Raw]) -> tuple[list[_DecodedT], int]:
    found = []
    for raw in raws:
        try:
            found.append(decoder.decode(raw))
        except (msgspec.MsgspecError, RecursionError):
            continue
    return found, len(raws) - len(found)


def _version(data: bytes) -> int | None:
    try:
        parts = _ANY.decode(data)
        version = msgspec.msgpack.decode(parts[0], type=int)
    except (msgspec.MsgspecError, IndexError, RecursionError):
        return None
    return version
