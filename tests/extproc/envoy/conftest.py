"""Outcomes to feed log entries to."""

import pytest
from tests.extproc.envoy.log_world import World


@pytest.fixture
def world() -> World:
    return World()
