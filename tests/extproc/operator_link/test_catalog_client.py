"""The data plane's end of the catalog stream, against a small operator that a test can end, break and upgrade."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

import pytest
from tests.extproc.catalog_stream import Operator, Worker
from tests.waiting import until

from limpet_extproc.contract.catalog import Catalog, Evidence, EvidenceReport, Hello, Seen, encode
from limpet_extproc.operator_link.catalog_client import watch
from limpet_extproc.operator_link.evidence import EvidenceReporter
from limpet_extproc.providers.complaints import Complaints
from limpet_extproc.providers.events import AttemptSucceeded
from limpet_extproc.providers.tracker import ProviderTracker


@pytest.fixture
def address(tmp_path: Path) -> str:
    return f"unix:{tmp_path}/operator.sock"


async def test_it_says_hello_and_seen_after_the_catalog_is_in_force(address: str) -> None:
    async with Operator(Catalog("1"), Catalog("2")).at(address) as operator, Worker().watching(address) as worker:
        await until(lambda: len(operator.reports) == 3)
        assert operator.reports == [Hello("node-1"), Seen("1"), Seen("2")]
        assert worker.catalogs == [Catalog("1"), Catalog("2")]
        assert worker.connected == [True]


async def test_an_outage_is_logged_once_and_ends_unaided(address: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "limpet_extproc")
    async with Worker().watching(address) as worker:
        await until(lambda: len(worker.pauses) >= 6)
        assert worker.pauses[:6] == [0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
        assert [r.levelname for r in caplog.records] == ["WARNING"]
        assert "no request is routed yet" in caplog.text
        async with Operator(Catalog("1")).at(address):
            await until(lambda: worker.connected == [True])
        await until(lambda: worker.connected == [True, False])
        tries = len(worker.pauses)
        await until(lambda: len(worker.pauses) > tries + 2)
        assert worker.catalogs == [Catalog("1")], "the last catalog stays"
        assert "Going on with revision 1" in caplog.text
        async with Operator(Catalog("2")).at(address):
            await until(lambda: worker.catalogs[1:] == [Catalog("2")])
            said = [r.getMessage() for r in caplog.records if r.levelname == "WARNING"][1:]
            assert len(said) == len(set(said)) < len(worker.pauses) - tries, "once, and again when its reason changes"


async def test_the_operators_words_about_a_mismatch_are_passed_on(
    address: str, caplog: pytest.LogCaptureFixture
) -> None:
    words = "the data plane (ext_proc) speaks contract version 1, the control plane (operator) speaks 2: upgrade it"
    async with Operator(refusal=words).at(address), Worker().watching(address) as worker:
        await until(lambda: len(worker.lost) > 2)
        assert set(worker.lost) == {words}
        assert caplog.text.count(words) == 1


@pytest.mark.parametrize(
    ("sent", "words"),
    [(encode(Catalog("9", version=9)), "upgrade the data plane"), (b"{", "not a catalog of contract version")],
)
async def test_a_catalog_it_cannot_read_leaves_the_last_one_in_force(address: str, sent: bytes, words: str) -> None:
    async with Operator(Catalog("1"), sent).at(address), Worker().watching(address) as worker:
        await until(lambda: worker.lost)
        assert words in worker.lost[0]
        assert set(worker.catalogs) == {Catalog("1")}


async def test_each_operator_gets_all_evidence_from_the_start(address: str) -> None:
    tracker = ProviderTracker(lambda: 1000.0, lambda _change: None)
    tracker.apply(AttemptSucceeded("a"))
    reporter = EvidenceReporter(tracker, dict, Complaints(lambda: None), dict, lambda: 1000.0)
    task = asyncio.create_task(watch(address, "node-1", lambda _: None, reporter=reporter))
    try:
        for _ in range(2):
            async with Operator(Catalog("1")).at(address) as operator:
                await until(lambda: len(operator.reports) == 3)
                assert operator.reports[0] == Hello("node-1")
                assert EvidenceReport({"a": Evidence(1000.0, since_s=1000.0)}) in operator.reports
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
