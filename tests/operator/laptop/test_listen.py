"""Where a local gateway listens, and by which names and from which pages it may be used."""

import re
import socket
from collections.abc import Callable

import pytest

from limpet_operator.laptop.listen import (
    CannotStart,
    ListenAddress,
    find_listen_address,
    gateway_id,
    own_name,
    parse_listen,
)
from limpet_operator.laptop.machine import free_port
from limpet_operator.publish.origins import origin, pattern


def _has_ipv6() -> bool:
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            return False
    return True


needs_ipv6 = pytest.mark.skipif(not _has_ipv6(), reason="this machine has no IPv6 loopback")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:10000", ("127.0.0.1", 10000)),
        ("localhost:1", ("localhost", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[::]:80", ("::", 80)),
    ],
)
def test_an_address_of_either_family_or_a_name_is_read(text: str, place: tuple[str, int]) -> None:
    assert parse_listen(text) == place


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("10000", "is not HOST:PORT, for example"),
        (":10000", "is not HOST:PORT"),
        ("localhost:", "is not HOST:PORT"),
        ("localhost:0", "is not HOST:PORT"),
        ("localhost:65536", "is not HOST:PORT"),
        ("localhost:٣", "is not HOST:PORT"),
        ("::1:10000", r"an IPv6 address needs brackets: write \[::1\]:10000"),
        ("[1::2::3]:10000", "is not an IPv6 address"),
        ("[localhost]:10000", "is not an IPv6 address"),
        ("[::1:10000", "is not HOST:PORT"),
        ("::1]:10000", "is not HOST:PORT"),
    ],
)
def test_what_is_not_an_address_gets_an_example_of_one(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_listen(text)


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", pytest.param("::1", marks=needs_ipv6)])
def test_a_free_address_is_one_place(host: str) -> None:
    assert find_listen_address(host, free_port()).addresses == (host,)


@needs_ipv6
def test_localhost_is_both_families() -> None:
    assert set(find_listen_address("localhost", free_port()).addresses) == {"127.0.0.1", "::1"}


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost"])
def test_a_port_that_is_taken_is_named_with_what_to_do(host: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(CannotStart, match=rf"cannot listen on .*:{port}: .* another with --listen HOST:PORT"):
            find_listen_address(host, port)


@needs_ipv6
def test_every_address_includes_those_of_the_other_family() -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        with pytest.raises(CannotStart, match=r"cannot listen on \[::\]:"):
            find_listen_address("::", taken.getsockname()[1])


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("192.0.2.1", r"cannot listen on 192\.0\.2\.1:1: .*It is not an address of this machine; write one with"),
        ("2001:db8::1", r"cannot listen on \[2001:db8::1\]:1"),
        ("no-such-host.invalid", "the name does not resolve"),
    ],
)
def test_an_address_that_is_not_ours_is_named_at_once(host: str, message: str) -> None:
    with pytest.raises(CannotStart, match=message):
        find_listen_address(host, 1)


@pytest.mark.parametrize(
    ("addresses", "loopback"),
    [
        (("127.0.0.1",), True),
        (("127.0.0.1", "::1"), True),
        (("0.0.0.0",), False),
        (("::",), False),
        (("127.0.1.1", "10.0.0.7"), False),
    ],
)
def test_only_a_gateway_of_this_machine_alone_knows_all_its_names_and_trusts_its_pages(
    addresses: tuple[str, ...], loopback: bool
) -> None:
    place = ListenAddress("laptop", addresses, 10000)
    assert place.loopback is loopback
    assert ("localhost" in place.own_names(())) is loopback
    assert bool(place.origins(())) is loopback


def test_names_that_are_given_count_beside_its_own_and_none_twice() -> None:
    names = ListenAddress("LocalHost", ("127.0.0.1",), 10000).own_names(("gateway.example",))
    assert {"localhost", "127.0.0.1", "[::1]", "gateway.example"} <= set(names)
    assert len(set(names)) == len(names), "Envoy refuses a name that stands there twice"
    assert "gateway.example" in ListenAddress("0.0.0.0", ("0.0.0.0",), 10000).own_names(("gateway.example",))


@pytest.mark.parametrize(
    ("place", "reachable"),
    [
        (ListenAddress("0.0.0.0", ("0.0.0.0",), 1), "127.0.0.1"),
        (ListenAddress("::", ("::",), 1), "::1"),
        (ListenAddress("localhost", ("127.0.0.1", "::1"), 1), "localhost"),
    ],
)
def test_a_gateway_is_reached_by_an_address_even_if_it_listens_on_all(place: ListenAddress, reachable: str) -> None:
    assert place.reachable == reachable


@pytest.mark.parametrize(
    ("read", "text"),
    [
        (own_name, "http://gateway.example"),
        (own_name, "gateway.example:80"),
        (own_name, ""),
        (origin, "chat.example"),
        (origin, "https://chat.example/page"),
        (origin, "https://a.example,https://b.example"),
    ],
)
def test_a_name_or_an_origin_that_could_never_match_is_refused(read: Callable[[str], str], text: str) -> None:
    with pytest.raises(ValueError, match="such as"):
        read(text)


@pytest.mark.parametrize(
    "text", ["https://chat.example", "http://localhost:*", "*", "null", "app://obsidian.md", "https://*.example.com"]
)
def test_origins_that_browsers_and_their_kin_send_are_taken(text: str) -> None:
    assert origin(text) == text


@pytest.mark.parametrize(
    ("allowed", "sent", "matches"),
    [
        ("https://chat.example", "https://chat.example", True),
        ("https://chat.example", "https://chat.example.evil.net", False),
        ("https://chat.example", "http://chat.example", False),
        ("https://chat.example", "https://chatxexample", False),
        ("https://*.example.com", "https://a.b.example.com", True),
        ("https://*.example.com", "https://evil.net/.example.com", False),
        ("https://*.example.com", "https://evil.net, https://a.example.com", False),
        ("http*://localhost:*", "http://localhost", True),
        ("http*://localhost:*", "https://localhost:5173", True),
        ("http*://localhost:*", "http://localhost.evil.net", False),
        ("http*://localhost:*", "http://localhost:80.evil.net", False),
        ("*", "null", True),
        ("null", "null", True),
    ],
)
def test_an_origin_is_allowed_as_a_whole_or_not_at_all(allowed: str, sent: str, matches: bool) -> None:
    assert (re.fullmatch(pattern([allowed]), sent) is not None) is matches


def test_without_allowed_origins_none_matches() -> None:
    assert re.fullmatch(pattern([]), "https://chat.example") is None
    assert re.fullmatch(pattern([]), "") is None


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", "limpet-local-10000"),
        ("localhost", "limpet-local-10000"),
        ("0.0.0.0", "limpet-0.0.0.0-10000"),
        ("::1", "limpet-[::1]-10000"),
    ],
)
def test_each_local_gateway_has_an_id_of_its_own(host: str, expected: str) -> None:
    assert gateway_id(host, 10000) == expected
