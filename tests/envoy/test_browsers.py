"""A web page can use the gateway of whoever looks at it only if it is allowed to, and then as any client can."""

import json
from pathlib import Path

import pytest
from tests.envoy.cast import PLAIN, say
from tests.envoy.command import Command
from tests.envoy.raw import request, send
from tests.envoy.stage import Stage

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_CHAT = "/v1/chat/completions"
_BODY = json.dumps({"model": PLAIN, "messages": [say("Hi")]}).encode()
_LENGTH = f"content-length: {len(_BODY)}"
_LOCAL = "http://localhost:5173"

_FOREIGN = {
    "another site": "https://attacker.example",
    "a sandboxed frame": "null",
    "a name that begins like ours": "http://localhost.attacker.example",
    "a port that is none": "http://localhost:80.attacker.example",
    "two": f"{_LOCAL}, https://attacker.example",
    "nothing": "",
}


@pytest.mark.parametrize("origin", _FOREIGN.values(), ids=_FOREIGN.keys())
async def test_a_page_that_nobody_allowed_spends_nothing(stage: Stage, origin: str) -> None:
    await stage.serve("a")
    simple = (f"origin: {origin}", "content-type: text/plain", "sec-fetch-site: cross-site", _LENGTH)
    answer = await send(stage.origin, request("POST", _CHAT, *simple, body=_BODY))
    assert answer.status == 403
    assert answer.headers["x-limpet-decision"] == "refused.origin"
    assert "--cors-origin" in answer.error["message"]
    assert "access-control-allow-origin" not in answer.headers
    assert not await stage.arrivals("a")


@pytest.mark.parametrize("path", [_CHAT, "/v1/models"])
async def test_its_question_before_is_refused_as_well(stage: Stage, path: str) -> None:
    asked = ("origin: https://attacker.example", "access-control-request-method: POST")
    answer = await send(stage.origin, request("OPTIONS", path, *asked))
    assert answer.status == 403
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "host", ["attacker.example", "attacker.example:10000", "localhost.attacker.example", "", "127.0.0.1.nip.io"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_page_that_made_its_name_point_here_reads_and_spends_nothing(
    stage: Stage, method: str, host: str
) -> None:
    """DNS rebinding: to the browser the page and the gateway are one origin."""
    await stage.serve("a")
    path = "/v1/models" if method == "GET" else _CHAT
    lines = (f"host: {host}", *((_LENGTH,) if method == "POST" else ()))
    answer = await send(stage.origin, request(method, path, *lines, body=_BODY if method == "POST" else b"", host=""))
    assert answer.status == 421
    assert answer.headers["x-limpet-decision"] == "refused.host"
    assert "--allow-host" in answer.error["message"]
    assert not await stage.arrivals("a")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "LOCALHOST:1", "[::1]:99", "app.localhost", "host.docker.internal:10000"]
)
async def test_the_gateways_own_names_are_served_with_any_port(stage: Stage, host: str) -> None:
    await stage.serve("a")
    answer = await send(stage.origin, request("GET", "/v1/models", host=host))
    assert answer.status == 200


async def test_a_page_of_this_machine_asks_and_reads_answers_and_errors(stage: Stage) -> None:
    await stage.serve("a")
    for path in (_CHAT, "/v1/models"):
        asked = (
            f"origin: {_LOCAL}",
            "access-control-request-method: POST",
            "access-control-request-headers: authorization",
        )
        before = await send(stage.origin, request("OPTIONS", path, *asked))
        assert before.status == 204
        assert before.headers["access-control-allow-origin"] == _LOCAL
        assert "POST" in before.headers["access-control-allow-methods"]
        assert "authorization" in before.headers["access-control-allow-headers"]
        assert before.headers["x-limpet-decision"] == "answered.preflight"
        assert "access-control-allow-private-network" not in before.headers
    good = await send(stage.origin, request("POST", _CHAT, f"origin: {_LOCAL}", _LENGTH, body=_BODY))
    bad = await send(stage.origin, request("POST", _CHAT, f"origin: {_LOCAL}", "content-length: 2", body=b"{}"))
    missing = await send(stage.origin, request("POST", "/v1/nothing", f"origin: {_LOCAL}"))
    listed = await send(stage.origin, request("GET", "/v1/models", f"origin: {_LOCAL}"))
    one = await send(stage.origin, request("GET", f"/v1/models/{stage.model}", f"origin: {_LOCAL}"))
    unknown = await send(stage.origin, request("GET", "/v1/models/nobodys", f"origin: {_LOCAL}"))
    answers = (good, bad, missing, listed, one, unknown)
    assert [each.status for each in answers] == [200, 400, 404, 200, 200, 404]
    for answer in answers:
        assert answer.headers["access-control-allow-origin"] == _LOCAL
        exposed = answer.headers["access-control-expose-headers"]
        assert {"x-limpet-provider", "x-limpet-decision", "x-limpet-attempts"} <= set(exposed.split(", "))


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/nobodys", "/v1/nothing"])
async def test_what_a_page_may_read_is_said_without_an_origin_too(stage: Stage, path: str) -> None:
    """Caches may give one answer to all."""
    await stage.serve("a")
    answer = await send(stage.origin, request("GET", path))
    assert "x-limpet-decision" in answer.headers["access-control-expose-headers"]
    assert "access-control-allow-origin" not in answer.headers


async def test_a_page_from_the_internet_that_is_allowed_may_ask_about_the_private_network(tmp_path: Path) -> None:
    flags = (
        "--cors-origin=https://chat.example",
        "--cors-origin=https://*.example.org",
        "--allow-host=gateway.example",
    )
    async with Command.up(tmp_path, *flags) as command:
        await command.says("Ctrl-C ends everything")
        gateway = f"http://127.0.0.1:{command.port}"
        for origin, status in (
            ("https://chat.example", 204),
            ("https://a.example.org", 204),
            (_LOCAL, 204),
            ("https://example.net", 403),
        ):
            asked = (
                f"origin: {origin}",
                "access-control-request-method: GET",
                "access-control-request-private-network: true",
            )
            answer = await send(gateway, request("OPTIONS", "/v1/models", *asked))
            assert answer.status == status, origin
            assert (answer.headers.get("access-control-allow-private-network") == "true") is (status == 204)
        assert (await send(gateway, request("GET", "/v1/models", host="gateway.example"))).status == 200


async def test_beyond_loopback_any_name_is_served_and_no_page_unless_allowed(tmp_path: Path) -> None:
    async with Command.up(tmp_path, listen="0.0.0.0") as command:
        await command.says("Ctrl-C ends everything")
        gateway = f"http://127.0.0.1:{command.port}"
        assert (await send(gateway, request("GET", "/v1/models", host="gateway.example"))).status == 200
        page = request("GET", "/v1/models", f"origin: {_LOCAL}", host="gateway.example")
        assert (await send(gateway, page)).status == 403
