"""Who asks, and whether that client may be served."""

from typing import Any

import pytest

from limpet_extproc.contract.client_keys import ClientKey, ClientKeys, ClientKeysMode, digest_of
from limpet_extproc.decision.clients import Client, Clients, clients_of
from limpet_extproc.decision.limits import Used
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.request.clients import client_of, not_allowed, over_budget, over_limit, unseen_model

LAPTOP, ROBOT, REVOKED = "lpk-laptop-0123456789", "lpk-robot-0123456789", "lpk-revoked-0123456789"


def _clients(mode: ClientKeysMode) -> Clients:
    keys = (("laptop", LAPTOP), ("robot", ROBOT))
    return clients_of(ClientKeys(mode, tuple(ClientKey(name, (digest_of(key).hex(),)) for name, key in keys)))


def _client(**fields: Any) -> Client:
    key = ClientKey("robot", (digest_of(ROBOT).hex(),), **fields)
    return clients_of(ClientKeys("Required", (key,))).by_name["robot"]


@pytest.mark.parametrize(
    ("headers", "required", "optional"),
    [
        ({}, 401, None),
        ({"authorization": f"Bearer {LAPTOP}"}, "laptop", "laptop"),
        ({"authorization": f"bEaReR   {LAPTOP} "}, "laptop", "laptop"),
        ({"x-api-key": f" {ROBOT}"}, "robot", "robot"),
        ({"authorization": f"Bearer {LAPTOP}", "x-api-key": LAPTOP}, "laptop", "laptop"),
        ({"authorization": f"Bearer {LAPTOP}", "x-api-key": ROBOT}, 401, 401),
        ({"authorization": "Bearer of-a-proxy", "x-api-key": ROBOT}, "robot", "robot"),
        ({"authorization": f"Bearer {REVOKED}", "x-api-key": ROBOT}, "robot", "robot"),
        ({"authorization": f"Bearer {REVOKED}"}, 401, 401),
        ({"authorization": "Bearer sk-anything-at-all"}, 401, None),
        ({"authorization": f"Basic {LAPTOP}"}, 401, None),
        ({"authorization": LAPTOP}, 401, None),
        ({"authorization": "Bearer "}, 401, None),
        ({"authorization": f"Bearer\t{LAPTOP}"}, 401, None),
        ({"cookie": LAPTOP}, 401, None),
    ],
)
def test_who_asks(headers: dict[str, str], required: object, optional: object) -> None:
    modes: tuple[tuple[ClientKeysMode, object], ...] = (("Required", required), ("Optional", optional))
    for mode, expected in modes:
        found = client_of(headers, _clients(mode))
        got: object = found.status if isinstance(found, Refusal) else found.name if found else None
        assert got == expected, mode
        if isinstance(found, Refusal):
            assert found.reason == "refused.unauthorized"
            assert "lpk-" not in found.message


def test_models_beyond_a_key_are_refused_by_name() -> None:
    client = _client(models=("a/*", "b"))
    assert not_allowed(client, "a/x") is None
    refusal = not_allowed(client, "c")
    assert refusal is not None
    assert (refusal.status, refusal.reason, refusal.param) == (403, "refused.model_not_allowed", "model")
    assert "a/*, b" in refusal.message


@pytest.mark.parametrize(
    ("models", "api", "model", "may"),
    [
        ((), "batches", "", True),
        ((), "batches", "a", True),
        (("a",), "files", "", True),
        (("a",), "batches", "", False),
        (("a",), "batches", "a", False),
        (("a",), "fine_tuning", "a", False),
        (("a",), "videos", "a", True),
        (("a",), "videos", "b", False),
        (("a",), "videos", "", False),
        (("a",), "files", "b", False),
    ],
)
def test_what_runs_models_unseen_is_not_for_a_key_of_some(
    models: tuple[str, ...], api: str, model: str, may: bool
) -> None:
    assert (unseen_model(_client(models=models), api, model) is None) is may


@pytest.mark.parametrize(
    ("used", "tokens", "over"),
    [
        (Used(), 10_000, False),
        (Used(0, 1, 100), 100, False),
        (Used(0, 2, 100), 100, True),
        (Used(0, 1, 950), 100, True),
        (Used(50, 1, 100), 100, False),
    ],
)
def test_limits_by_the_minute(used: Used, tokens: int, over: bool) -> None:
    client = _client(requests_per_minute=2, tokens_per_minute=1000)
    refusal = over_limit(client, used, tokens, lambda _limits: 17)
    assert (refusal is not None) is over
    if refusal is not None:
        assert (refusal.status, refusal.reason) == (429, "refused.over_key_limit")
        assert refusal.retry_after_s == 17
        assert "in 17 s" in refusal.message
        assert (refusal.client, refusal.limit) == (
            client.name,
            "requestsPerMinute" if used.requests == 2 else "tokensPerMinute",
        )


def test_dollars_by_the_day_end_with_the_day() -> None:
    client = _client(usd_per_day=2.0)
    assert over_budget(client, 1.99, 86_400 * 5 + 86_000) is None
    refusal = over_budget(client, 2.0, 86_400 * 5 + 86_000)
    assert refusal is not None
    assert (refusal.retry_after_s, refusal.limit) == (400, "usdPerDay")
    assert over_budget(_client(), 1e9, 0.0) is None
    assert over_limit(_client(), Used(0, 10**9, 10**9), 1, lambda _limits: 1) is None
