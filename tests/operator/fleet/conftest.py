"""Two replicas that know each other."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.operator.fleet.replicas import Names, Replica


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[tuple[Replica, Replica]]:
    a, b = (Replica(name, f"unix:{tmp_path}/{name}.sock") for name in "ab")
    names = Names(a.address, b.address)
    async with a.running(names), b.running(names):
        yield a, b
