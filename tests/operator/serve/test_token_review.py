"""Whose a token is: what the API server's word counts for, and how long."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from limpet_operator.serve.token_review import (
    PATH,
    REMEMBERED_S,
    TokenRefusedError,
    TokenReviews,
    Workload,
    review,
    reviewed,
)
from limpet_operator.sources.kube_error import ApiError

CHECKOUT = "system:serviceaccount:shop:checkout"


def answer(user: Any = CHECKOUT, audiences: Any = ("istio-ca",), *, authenticated: Any = True) -> dict[str, Any]:
    return {"status": {"authenticated": authenticated, "audiences": audiences, "user": {"username": user}}}


def test_a_service_account_is_named() -> None:
    assert reviewed(answer(), "istio-ca") == Workload("shop", "checkout")
    assert review("t", "istio-ca")["spec"] == {"token": "t", "audiences": ["istio-ca"]}


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (answer(authenticated=False), "does not accept"),
        (answer(authenticated="true"), "does not accept"),
        ({"status": {}}, "does not accept"),
        (answer(audiences=["https://kubernetes.default.svc"]), "not for the audience"),
        (answer(audiences=None), "not for the audience"),
        (answer("system:node:one"), "not of a service account"),
        (answer("system:serviceaccount:shop"), "not of a service account"),
        (answer("system:serviceaccount::x"), "not of a service account"),
        (answer("shop:checkout"), "not of a service account"),
        (answer(7), "not of a service account"),
    ],
)
def test_no_other_token_counts(said: Any, why: str) -> None:
    with pytest.raises(TokenRefusedError, match=why):
        reviewed(said, "istio-ca")


@pytest.mark.parametrize("said", [None, [], {}, {"status": None}, {"status": "Failure"}])
def test_an_answer_that_is_none_is_the_api_servers_failure(said: Any) -> None:
    with pytest.raises(ApiError):
        reviewed(said, "istio-ca")


class Asked:
    """An API server that knows some tokens, and whose clock the test sets."""

    def __init__(self, **tokens: dict[str, Any]) -> None:
        self.tokens = tokens
        self.asked: list[str] = []
        self.now_s = 0.0
        self.at_once = self.most_at_once = 0
        self.reviews = TokenReviews(self.call, "istio-ca", lambda: self.now_s)

    async def call(self, method: str, path: str, body: Mapping[str, Any], /) -> Any:
        assert (method, path) == ("POST", PATH)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        self.asked.append(body["spec"]["token"])
        if body["spec"]["token"] == "away":
            raise ApiError(None, "no answer")
        return self.tokens.get(body["spec"]["token"], answer(authenticated=False))


async def test_an_answer_is_remembered_for_a_while_and_a_refusal_is_not() -> None:
    api = Asked(one=answer())
    for _ in range(3):
        assert await api.reviews.workload("one") == Workload("shop", "checkout")
    assert api.asked == ["one"]
    api.now_s = REMEMBERED_S
    api.tokens.clear()
    for _ in range(2):
        with pytest.raises(TokenRefusedError):
            await api.reviews.workload("one")
    assert api.asked == ["one"] * 3


@pytest.mark.parametrize("token", ["", "x" * 20_000])
async def test_what_is_no_token_is_not_asked_about(token: str) -> None:
    api = Asked()
    with pytest.raises(TokenRefusedError) as caught:
        await api.reviews.workload(token)
    assert api.asked == []
    assert "xx" not in str(caught.value)


async def test_many_strangers_do_not_keep_the_api_server_busy() -> None:
    api = Asked()
    asking = [api.reviews.workload(f"made up {number}") for number in range(50)]
    refused = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(each, TokenRefusedError) and "made up" not in str(each) for each in refused)
    assert api.most_at_once <= 8


async def test_nobody_is_refused_because_the_api_server_is_away() -> None:
    with pytest.raises(ApiError):
        await Asked().reviews.workload("away")
