"""A seller that speaks TLS, and what becomes of its certificate."""

import ssl
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio

from limpet_lab.bench.faults.authority import Authority
from limpet_lab.sim.config import SellerConfig, SellerModel
from limpet_lab.sim.sellers import Sellers

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="module")]

AUTHORITY = Authority()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def running() -> AsyncIterator[Sellers]:
    config = SellerConfig(name="safe", models=(SellerModel("m"),), tls=AUTHORITY.issue("127.0.0.1"))
    async with Sellers.start([config]) as started:
        yield started


async def test_a_seller_shows_its_certificate_and_a_new_one_after_a_restart(running: Sellers) -> None:
    seller = running["safe"]
    assert seller.base_url == f"https://127.0.0.1:{seller.port}/v1"
    trusting = ssl.create_default_context(cadata=AUTHORITY.pem)
    async with httpx.AsyncClient(verify=trusting) as buyer:
        assert (await buyer.get(f"{seller.base_url}/models")).status_code == 200
    await seller.restart(AUTHORITY.issue("127.0.0.1", expired=True))
    async with httpx.AsyncClient(verify=trusting) as buyer:
        with pytest.raises(httpx.ConnectError, match="certificate has expired"):
            await buyer.get(f"{seller.base_url}/models")
    await seller.reset()
    await seller.restart(AUTHORITY.issue("127.0.0.1"))
    async with httpx.AsyncClient(verify=trusting) as buyer:
        assert (await buyer.get(f"{seller.base_url}/models")).status_code == 200
