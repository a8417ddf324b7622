"""What the chart makes, for each way to install it."""

from typing import Any

import pytest
import yaml
from tests.chart.rendered import Object, objects
from tests.chart.ways import WAYS


@pytest.fixture(params=WAYS, scope="module")
def values(request: pytest.FixtureRequest) -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(WAYS[request.param])
    return parsed


@pytest.fixture(scope="module")
def found(values: dict[str, Any]) -> list[Object]:
    return objects(values)
