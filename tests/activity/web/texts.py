"""Stores with some records, and what a person reads on a page."""

import re

from starlette.testclient import TestClient
from tests.activity.store.answers import T0, fill

from limpet_activity.store.in_memory import InMemoryStore
from limpet_extproc.contract.activity import VERSION, ActivityBatch, ActivityRecord, ProviderReport


def with_records(*records: ActivityRecord, providers: tuple[ProviderReport, ...] = ()) -> InMemoryStore:
    """A store of these, as one gateway told them."""
    store = InMemoryStore()
    store.take([ActivityBatch(VERSION, "gw-1", 0, 0, T0, records, providers, T0)], T0)
    return store


def filled() -> InMemoryStore:
    """A store with the records of tests/activity/store/answers.py."""
    store = InMemoryStore()
    fill(store)
    return store


def text_of(client: TestClient, path: str, status: int = 200) -> str:
    """What a person reads, without markup."""
    answer = client.get(path)
    assert answer.status_code == status
    plain = re.sub(r"<[^>]+>", " ", re.sub(r"<(svg|script|style).*?</\1>", "", answer.text, flags=re.DOTALL))
    return re.sub(r"\s+", " ", plain).replace(" :", ":")
