"""The data plane's values for tests: providers, lanes and requests that are valid unless a test changes them."""

from typing import Any

import msgspec
import pytest

from limpet_extproc.contract.catalog import Catalog, CatalogProvider, Model, Policy
from limpet_extproc.contract.prices import Price, PriceRules
from limpet_extproc.decision.query import Query
from limpet_extproc.decision.snapshot import Lane, Snapshot, snapshot
from limpet_extproc.decision.steering import Steering
from limpet_extproc.dialects.openai_chat import OpenAIChat
from limpet_extproc.dialects.port import Refusal
from limpet_extproc.request.opened import Opened, open_request
from limpet_extproc.request.parsing import RequestHead, read

MODEL = "flash"
CHEAP = Price(input=0.15, output=0.6, cache_read=0.003, cache_write=0.15)


class Make:
    """Makes values for tests; every provider serves the model `flash` at the same price and caches from 0 tokens on."""

    model = MODEL
    price = CHEAP

    @staticmethod
    def provider(
        name: str,
        *,
        price: Price | None = CHEAP,
        min_tokens: int = 0,
        upstream: str = MODEL,
        rules: PriceRules = PriceRules(),  # noqa: B008 - it is frozen
        **fields: Any,
    ) -> CatalogProvider:
        """A provider of the contract; further keywords are fields of `CatalogProvider`."""
        model = Model(MODEL, upstream, min_tokens, price, price_rules=rules)
        return CatalogProvider(name, (model,), **fields)

    @staticmethod
    def snapshot(*providers: CatalogProvider, **policy: Any) -> Snapshot:
        """The tables of a catalog of these providers under one policy."""
        return snapshot(Catalog("r1", providers, (Policy(**policy),)))

    def lane(self, *providers: CatalogProvider, **policy: Any) -> Lane:
        """The candidates for `flash`; further keywords are fields of `Policy`."""
        return self.snapshot(*providers, **policy).lanes["OpenAIChat", MODEL]

    @staticmethod
    def query(
        lane: Lane,
        *,
        key: bytes = b"conversation",
        prompt_tokens: int = 4000,
        output_tokens: int = 400,
        steering: Steering | None = None,
        stays: bool = True,
    ) -> Query:
        """A request of 4,000 tokens that is expected to get 400 back."""
        return Query(lane, key, prompt_tokens, output_tokens, steering, stays)

    @staticmethod
    def body(text: str = "Hello", **fields: Any) -> bytes:
        """A chat completion request of one user message; a field that is given replaces or adds one."""
        return msgspec.json.encode({"model": MODEL, "messages": [{"role": "user", "content": text}], **fields})

    @staticmethod
    def opened(snapshot: Snapshot, body: bytes, *, secret: bytes = b"secret", **headers: str) -> Opened | Refusal:
        """A request, read and opened; underscores in header names stand for dashes."""
        head = RequestHead(OpenAIChat(), {name.replace("_", "-"): value for name, value in headers.items()})
        request = read(head, body)
        return request if isinstance(request, Refusal) else open_request(head, request, body, snapshot, secret)


@pytest.fixture(scope="session")
def make() -> Make:
    return Make()
