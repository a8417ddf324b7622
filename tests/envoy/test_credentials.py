"""Keys: a provider sees its own and nobody else's, whatever was tried before it and whatever the client sends."""

from itertools import permutations

import aiohttp
import pytest
from tests.envoy.cast import LONG, headers_of, say
from tests.envoy.stage import Stage

from limpet_lab.sim.faults import Fault

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

_OWN_HEADER = {"a": "authorization", "b": "x-api-key", "c": "api-key", "d": "x-goog-api-key", "e": None}
_INTERNAL = ("x-limpet-", "x-forwarded-", "x-request-id", "x-envoy-")


def _must_not_leak(stage: Stage, seller: str, headers: dict[str, str]) -> None:
    own = _OWN_HEADER[seller]
    for name, value in headers.items():
        assert stage.key not in value, f"{seller} saw the client's key in {name}"
        assert not name.startswith(_INTERNAL), f"{seller} saw {name}"
        for other in set(_OWN_HEADER) - {seller}:
            assert f"key-of-{other}" not in value, f"{seller} saw the key of {other} in {name}"
    sent = {name for name in headers if name in set(_OWN_HEADER.values())}
    assert sent == ({own} if own else set())


@pytest.mark.parametrize(("first", "second"), list(permutations("abcde", 2)), ids="-".join)
async def test_the_second_provider_never_sees_the_firsts_key_nor_the_clients(
    stage: Stage, first: str, second: str
) -> None:
    await stage.serve(first, second)
    await stage.sellers[first].set_fault(Fault(kind="status", status=503))
    everything = {header: stage.key for header in _OWN_HEADER.values() if header and header != "authorization"}
    answer = await stage.ask(
        [say(LONG, "system"), say("Whose key?")],
        headers=everything,
        extra={"provider": {"order": [stage.provider(first), stage.provider(second)]}},
    )
    assert answer.seller == second
    for seller in (first, second):
        (arrival,) = await stage.arrivals(seller)
        _must_not_leak(stage, seller, headers_of(arrival))


async def test_the_whole_row_of_styles_in_one_request(stage: Stage) -> None:
    await stage.serve("a", "b", "c", "d", "e", policy={"failover": {"maxAttempts": 5}})
    for seller in stage.each("a", "b", "c", "d"):
        await seller.set_fault(Fault(kind="reset_before_headers"))
    order = [stage.provider(name) for name in "abcde"]
    answer = await stage.ask([say(LONG, "system"), say("All five")], extra={"provider": {"order": order}})
    assert answer.seller == "e"
    for name in "abcde":
        # A connection that ends without an answer is tried once more, the same way.
        for arrival in await stage.arrivals(name):
            _must_not_leak(stage, name, headers_of(arrival))


async def test_internal_headers_of_a_client_neither_count_nor_pass(stage: Stage) -> None:
    await stage.serve("a", "b", "c")
    spoofed = {
        "x-limpet-cluster": stage.provider("b"),
        "X-Limpet-Provider": "me",
        "x-limpet-decision": "mine",
        "x-limpet-anything": "at all",
        "x-forwarded-for": "203.0.113.7",
        "x-forwarded-host": "internal.example",
        "x-request-id": "known-to-me",
        "x-envoy-max-retries": "0",
        "x-envoy-upstream-rq-timeout-ms": "1",
        "x-envoy-original-path": "/elsewhere",
        "x-envoy-retry-on": "gateway-error",
    }
    first = await stage.ask([say(LONG, "system"), say("Spoof")])
    await stage.settle()
    answer = await stage.ask([say(LONG, "system"), say("Spoof")], headers=spoofed)
    assert (answer.seller, answer.decision) == (first.seller, "sticky.hit")
    for arrival in await stage.arrivals(first.seller):
        _must_not_leak(stage, first.seller, headers_of(arrival))


async def test_a_key_that_is_refused_is_no_affair_of_the_client(stage: Stage) -> None:
    await stage.serve("a", "e", specs={"a": {"credential": {"env": "WRONG_KEY"}}}, env={"WRONG_KEY": "no-longer-valid"})
    answer = await stage.ask("Hello", extra={"provider": {"order": [stage.provider("a"), stage.provider("e")]}})
    assert answer.seller == "e"
    (refused,) = await stage.arrivals("a")
    assert headers_of(refused)["authorization"] == "Bearer no-longer-valid"


async def test_a_key_goes_nowhere_while_its_providers_name_does_not_resolve(stage: Stage) -> None:
    await stage.serve("a", "e", specs={"a": {"url": "http://no-such-host.invalid/v1"}})
    answer = await stage.ask("Hello", extra={"provider": {"order": [stage.provider("a"), stage.provider("e")]}})
    assert answer.seller == "e"
    connector = aiohttp.UnixConnector(path=str(stage.gateway.admin_socket))
    async with aiohttp.ClientSession(connector=connector) as admin:
        async with admin.get("http://envoy/listeners?format=json") as response:
            listeners = (await response.json())["listener_statuses"]
        async with admin.get("http://envoy/clusters") as response:
            lines = (line.split("::") for line in (await response.text()).splitlines())
            hosts = {line[1] for line in lines if line[0] == stage.provider("a")}
    with_ports = [each["name"] for each in listeners if "socket_address" in each["local_address"]]
    assert with_ports == ["limpet"], "a port that a stranger could have taken"
    assert {host for host in hosts if host[0].isdigit()} == {"127.0.0.1:0"}, "where nobody can listen"
