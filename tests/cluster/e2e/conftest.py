"""What the stories of a whole installation share: where they keep things, and who sells."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from tests.cluster.e2e.installation import seller_config

from limpet_lab.sim.sellers import Sellers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sellers() -> AsyncIterator[Sellers]:
    async with Sellers.start([seller_config(name) for name in ("ada", "bee", "cod")]) as running:
        yield running


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("e2e")
