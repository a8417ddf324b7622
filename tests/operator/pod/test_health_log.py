"""A pod's log has a line when a provider is no longer up, and one when it is up again."""

import logging

import pytest

from limpet_operator.fleet.view import Traffic, TrafficState
from limpet_operator.planning.finding import ObjectFindings
from limpet_operator.pod.health_log import HealthLog
from limpet_operator.status.health import provider_health

UP = provider_health(ObjectFindings(), Traffic(TrafficState()))
NO_KEY = provider_health(ObjectFindings(), Traffic(TrafficState("down", 9.0, "CredentialRefused", 401, "bad key")))


def test_each_change_is_one_line_with_its_fields(caplog: pytest.LogCaptureFixture) -> None:
    log = HealthLog()
    with caplog.at_level(logging.INFO):
        for health in (UP, NO_KEY, NO_KEY, UP, UP):
            log.log({"alpha": health, "beta": UP})
    assert [(record.levelname, vars(record)["provider"], vars(record)["reason"]) for record in caplog.records] == [
        ("WARNING", "alpha", "CredentialRefused"),
        ("INFO", "alpha", "TrafficOK"),
    ]
    assert 'it rejects the API key: 401 "bad key"' in caplog.messages[0]
