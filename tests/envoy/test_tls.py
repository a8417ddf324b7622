"""Providers behind TLS, as all real ones are: the right certificate is asked for, and nobody else's is taken."""

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import openai
import pytest
import trustme
from aiohttp import web

from limpet_operator.laptop.local import LocalGateway, LocalSettings
from limpet_operator.laptop.machine import free_port
from limpet_operator.planning.plan import plan
from limpet_operator.resources.objects import Objects, Parser

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio]

MODEL = "open/model"
API = "limpet.dev/v1alpha1"


@contextmanager
def context_of(authority: trustme.CA, name: str) -> Iterator[ssl.SSLContext]:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    yield context


@asynccontextmanager
async def https_provider(
    authority: trustme.CA, name: str, heard: list[Any], at: str = "127.0.0.1"
) -> AsyncIterator[int]:
    """A provider with a certificate for `name`; keeps what it hears."""

    async def answer(request: web.Request) -> web.Response:
        heard.append(
            (request.host, request.path, request.headers.get("authorization"), (await request.json())["model"])
        )
        message = {"role": "assistant", "content": "safe"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 3, "completion_tokens": 1, "total_tokens": 4}
        body = {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
        return web.json_response(body)

    app = web.Application()
    app.router.add_post("/api/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    with context_of(authority, name) as context:
        await web.TCPSite(runner, at, port, ssl_context=context).start()
    try:
        yield port
    finally:
        await runner.cleanup()


def objects(name: str, url: str, ca_pem: str, **tls: Any) -> list[dict[str, Any]]:
    spec = {
        "vendor": "OpenAI",
        "url": url,
        "credential": {"secretRef": {"name": "key", "key": "api-key"}},
        "models": [{"name": MODEL, "upstreamName": f"at-{name}"}],
        "tls": {"caCertificateRef": {"name": f"ca-{name}", "key": "ca.crt"}, **tls},
    }
    return [
        {"apiVersion": API, "kind": "Provider", "metadata": {"name": name}, "spec": spec},
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"ca-{name}"}, "data": {"ca.crt": ca_pem}},
        {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"api-key": "secret"}},
    ]


def planned(*written: dict[str, Any]) -> Any:
    parser = Parser.load()
    parsed: dict[Any, Any] = {}
    for raw in written:
        result: Any = parser.parse(raw)
        parsed[result.key] = result
    made = plan(Objects(parsed), {})
    assert all(each.ok for each in made.findings.values()), made.findings
    return made


@pytest.fixture
async def gateway() -> AsyncIterator[LocalGateway]:
    refused: list[Any] = []
    async with LocalGateway(LocalSettings(port=free_port(), on_nack=refused.append)) as local:
        yield local
        assert refused == []


async def ask(gateway: LocalGateway, *order: str) -> Any:
    """The answer to a request, of these providers in this order if some are named."""
    steering = {"provider": {"order": order}} if order else None
    async with openai.AsyncOpenAI(base_url=gateway.base_url, api_key="client", max_retries=0) as client:
        return await client.chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": "hello"}], extra_body=steering
        )


def pem(authority: trustme.CA) -> str:
    return authority.cert_pem.bytes().decode()


async def test_a_provider_is_spoken_to_by_its_own_name_over_tls(gateway: LocalGateway) -> None:
    authority, heard = trustme.CA(), list[Any]()
    async with https_provider(authority, "localhost", heard) as port:
        gateway.apply(planned(*objects("good", f"https://localhost:{port}/api/v1", pem(authority))))
        await gateway.ready()
        answer = await ask(gateway)
    assert answer.headers["x-limpet-provider"] == "good"
    assert answer.parse().choices[0].message.content == "safe"
    assert heard == [(f"localhost:{port}", "/api/v1/chat/completions", "Bearer secret", "at-good")]


@pytest.mark.parametrize(("host", "url_host"), [("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
async def test_a_provider_by_its_address_is_known_by_a_certificate_for_the_address(
    gateway: LocalGateway, host: str, url_host: str
) -> None:
    authority, heard = trustme.CA(), list[Any]()
    async with https_provider(authority, host, heard, host) as port:
        gateway.apply(planned(*objects("good", f"https://{url_host}:{port}/api/v1", pem(authority))))
        await gateway.ready()
        answer = await ask(gateway)
    assert answer.headers["x-limpet-provider"] == "good"
    assert [each[0] for each in heard] == [f"{url_host}:{port}"]


async def test_a_server_name_of_its_own_is_asked_for(gateway: LocalGateway) -> None:
    authority, heard = trustme.CA(), list[Any]()
    async with https_provider(authority, "models.example", heard) as port:
        url = f"https://localhost:{port}/api/v1"
        gateway.apply(planned(*objects("named", url, pem(authority), serverName="models.example")))
        await gateway.ready()
        await ask(gateway)
    assert len(heard) == 1


@pytest.mark.parametrize("wrong", ["authority", "name", "address"])
async def test_a_wrong_certificate_never_sees_the_key_and_the_next_provider_answers(
    gateway: LocalGateway, wrong: str
) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    heard: list[Any] = []
    overheard: list[Any] = []
    issuer = stranger if wrong == "authority" else authority
    name = "somebody.example" if wrong == "name" else "localhost"
    bad_host = "127.0.0.1" if wrong == "address" else "localhost"
    async with (
        https_provider(issuer, name, overheard) as bad_port,
        https_provider(authority, "localhost", heard) as good_port,
    ):
        policy = {"models": ["*"], "mode": "Off"}
        gateway.apply(
            planned(
                *objects("bad", f"https://{bad_host}:{bad_port}/api/v1", pem(authority)),
                *objects("good", f"https://localhost:{good_port}/api/v1", pem(authority)),
                {"apiVersion": API, "kind": "StickyPolicy", "metadata": {"name": "off"}, "spec": policy},
            )
        )
        await gateway.ready()
        answers = [await ask(gateway) for _ in range(6)]
    assert {answer.headers["x-limpet-provider"] for answer in answers} == {"good"}
    assert overheard == []
    assert len(heard) == 6
