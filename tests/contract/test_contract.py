"""What travels between the planes comes back the same, and a stranger is told what to upgrade."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.contract.catalog import (
    CONTRACT_VERSION,
    Catalog,
    CatalogProvider,
    ContractMismatch,
    Evidence,
    EvidenceReport,
    Hello,
    Model,
    Policy,
    Report,
    Seen,
    decode_catalog,
    decode_report,
    encode,
)
from limpet_extproc.contract.prices import Price, PriceRules, PriceTier, PriceWindow

FINITE = st.floats(0, 1e9, allow_nan=False)
PRICES = st.builds(Price, *[FINITE] * 4, st.none() | FINITE)
TIERS = st.lists(st.builds(PriceTier, st.integers(1, 10**6), PRICES), max_size=2).map(tuple)
MINUTES = st.integers(0, 1439)
WINDOWS = st.builds(PriceWindow, st.text(), st.text(), st.just((0, 6)), MINUTES, MINUTES, PRICES, TIERS)
RULES = st.builds(
    PriceRules, TIERS, st.lists(WINDOWS, max_size=2).map(tuple), st.dictionaries(st.text(), FINITE, max_size=2)
)
MODELS = st.builds(Model, st.text(), st.text(), st.integers(0, 10**6), st.none() | PRICES, price_rules=RULES)
PROVIDERS = st.builds(
    CatalogProvider,
    name=st.text(),
    models=st.lists(MODELS, max_size=2).map(tuple),
    cache_ttl_s=FINITE,
    drain=st.booleans(),
)
CATALOGS = st.builds(
    Catalog,
    revision=st.text(),
    providers=st.lists(PROVIDERS, max_size=3).map(tuple),
    policies=st.lists(st.builds(Policy, memory_ttl_s=st.none() | FINITE), max_size=2).map(tuple),
)


@given(CATALOGS)
def test_a_catalog_comes_back_the_same(catalog: Catalog) -> None:
    assert decode_catalog(encode(catalog)) == catalog


EVIDENCE = st.builds(Evidence, FINITE, FINITE, st.sampled_from(["down", "over_limit", None]), FINITE)
REPORTS = st.one_of(
    st.builds(Hello, st.text()),
    st.builds(Seen, st.text()),
    st.builds(EvidenceReport, st.dictionaries(st.text(), EVIDENCE, max_size=3)),
)


@given(REPORTS)
def test_a_report_comes_back_the_same(report: Report) -> None:
    assert decode_report(encode(report)) == report


def test_an_optional_addition_of_a_newer_peer_is_ignored() -> None:
    document = msgspec.json.decode(encode(Catalog("1", (CatalogProvider("a", ()),))))
    document["news"] = document["providers"][0]["news"] = [1]
    assert decode_catalog(msgspec.json.encode(document)) == Catalog("1", (CatalogProvider("a", ()),))


@pytest.mark.parametrize(("version", "older"), [(CONTRACT_VERSION - 1, 1), (CONTRACT_VERSION + 1, 0)])
def test_the_older_side_is_the_one_to_upgrade(version: int, older: bool) -> None:
    with pytest.raises(ContractMismatch, match="upgrade the " + ("control plane" if older else "data plane")):
        decode_catalog(encode(Catalog("1", version=version)))
    with pytest.raises(ContractMismatch, match="upgrade the " + ("data plane" if older else "control plane")):
        decode_report(encode(Hello("n", version=version)))


def test_a_newer_catalog_of_another_shape_is_a_version_and_not_a_riddle() -> None:
    with pytest.raises(ContractMismatch, match=f"version {CONTRACT_VERSION + 1}"):
        decode_catalog(b'{"version": %d, "providers": "elsewhere"}' % (CONTRACT_VERSION + 1))


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b'{"version": %d}' % CONTRACT_VERSION, b"\xff\xfe"])
def test_bytes_that_are_no_message_are_a_mismatch(data: bytes) -> None:
    with pytest.raises(ContractMismatch, match="not a catalog"):
        decode_catalog(data)
    with pytest.raises(ContractMismatch, match="not a report"):
        decode_report(data)
