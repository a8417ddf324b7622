"""What tests of running sellers share; each file starts its own in a fixture `running`."""

import pytest_asyncio

from limpet_lab.sim.sellers import Sellers


@pytest_asyncio.fixture(loop_scope="module")
async def sellers(running: Sellers) -> Sellers:
    """The sellers of the file, without what the last test left."""
    for seller in running:
        await seller.reset()
    return running
