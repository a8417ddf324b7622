"""Who a request is from by the word of a sidecar, and what does not count as its word."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from limpet_extproc.decision.clients import Client
from limpet_extproc.request.identity import tenant
from limpet_extproc.request.workload import workload_of

SHOP = "spiffe://cluster.local/ns/shop/sa/checkout"
BY = "By=spiffe://cluster.local/ns/limpet/sa/limpet-gateway"
HASH = "Hash=0123456789abcdef"


@pytest.mark.parametrize(
    "header",
    [
        f'{BY};{HASH};Subject="";URI={SHOP}',
        f"URI={SHOP};{BY};{HASH}",
        f'{BY};{HASH};Subject="CN=a,O=\\"b;URI={SHOP}x\\"";URI={SHOP};DNS=a.example',
        f"uri={SHOP}",
        f'URI="{SHOP}"',
        f"URI={SHOP};",
    ],
)
def test_the_sidecars_word_counts(header: str) -> None:
    assert workload_of(f"127.0.0.6 {header}") == SHOP
    assert workload_of(f"::6 {header}") == SHOP
    for stranger in ("127.0.0.1", "10.0.0.7", "127.0.0.60", "", "::1", "127.0.0.6,"):
        assert workload_of(f"{stranger} {header}") == ""


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        BY,
        f"URI={SHOP},{BY};URI={SHOP}",
        f"{BY};URI=spiffe://cluster.local/ns/admin/sa/admin,{BY};URI={SHOP}",
        f"URI={SHOP};URI=spiffe://cluster.local/ns/admin/sa/admin",
        f"URI={SHOP};URI={SHOP}",
        f'Subject="URI={SHOP}"',
        f'Subject="a;URI={SHOP}',
        f"URI=https://{SHOP}",
        f"URI={SHOP}/more",
        f"URI={SHOP}%20",
        "URI=spiffe://cluster.local/ns/shop",
        "URI=spiffe://cluster.local/ns/../sa/checkout",
        f"URI={SHOP} ",
        f";URI={SHOP}",
        f'URI={SHOP};Subject="' + "a" * 9000 + '"',
    ],
)
def test_anything_else_is_nobodys_word(header: str) -> None:
    assert workload_of(f"127.0.0.6 {header}") == ""


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_text_is_taken_for_a_workload_it_does_not_name(text: str) -> None:
    found = workload_of(f"127.0.0.6 {text}")
    assert found == "" or f"={found}" in text.replace('"', "")


@given(st.text('URI=spiffe:/",;\\nsa', max_size=30), st.text('URI=spiffe:/",;\\nsa', max_size=30))
def test_what_a_client_wrote_within_a_quoted_subject_never_counts(before: str, after: str) -> None:
    subject = (before + after).replace("\\", "\\\\").replace('"', '\\"')
    assert workload_of(f'127.0.0.6 {BY};Subject="{subject}";URI={SHOP}') == SHOP


def test_the_tenant_is_the_client_with_a_key_then_the_workload_then_the_credential() -> None:
    headers = {"authorization": "Bearer any", "limpet-workload": f"127.0.0.6 {BY};URI={SHOP}"}
    client = Client("shop", b"shop", "shop")
    assert tenant(headers, client) == client.tenant
    assert tenant(headers) == b"workload\n" + SHOP.encode()
    assert tenant({**headers, "limpet-workload": f"10.0.0.7 {BY};URI={SHOP}"}) == b"Bearer any"
    assert tenant({"authorization": "Bearer any"}) == b"Bearer any"
