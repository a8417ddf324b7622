"""Clients' keys between the planes: digests alone, and what they change of a catalog."""

from hashlib import sha256

from limpet_extproc.contract.catalog import NO_KEYS, catalog_of, decode_catalog, encode
from limpet_extproc.contract.client_keys import ClientKey, ClientKeys, digest_of, same_digest

KEY = "lpk-0123456789abcdef"


def test_a_key_is_known_by_its_sha_256() -> None:
    assert digest_of(KEY) == sha256(KEY.encode()).digest()
    assert same_digest(digest_of(KEY), digest_of(KEY))
    assert not same_digest(digest_of(KEY), digest_of(KEY + "x"))


def test_a_catalog_carries_clients_and_is_another_one_with_others() -> None:
    keys = ClientKeys("Required", (ClientKey("laptop", (digest_of(KEY).hex(),), models=("a/*",), usd_per_day=2.5),))
    catalog = catalog_of((), (), keys)
    assert decode_catalog(encode(catalog)).client_keys == keys
    assert catalog.revision != catalog_of((), (), NO_KEYS).revision
    assert KEY.encode() not in encode(catalog)
