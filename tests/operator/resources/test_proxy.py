"""Which way leads to a provider: the variables that other tools obey, and what they except."""

import pytest

from limpet_operator.resources.proxy import Proxy, ProxySettings, parse_proxy, proxy_settings
from limpet_operator.resources.url import parse_url

_PROXY = Proxy("proxy.corp", 3128)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, ProxySettings(direct=("",))),
        ({"HTTPS_PROXY": "http://proxy.corp:3128"}, ProxySettings(https=_PROXY, direct=("",))),
        ({"https_proxy": "proxy.corp:3128/"}, ProxySettings(https=_PROXY, direct=("",))),
        ({"HTTP_PROXY": "http://proxy.corp:3128", "NO_PROXY": "a, b"}, ProxySettings(http=_PROXY, direct=("a", "b"))),
        ({"ALL_PROXY": "http://proxy.corp:3128"}, ProxySettings(_PROXY, _PROXY, ("",))),
        (
            {"ALL_PROXY": "http://other", "https_proxy": "http://[fd00::1]:1"},
            ProxySettings(Proxy("fd00::1", 1), Proxy("other", 80), ("",)),
        ),
        ({"HTTPS_PROXY": "", "https_proxy": ""}, ProxySettings(direct=("",))),
    ],
)
def test_the_usual_variables_are_obeyed(environment: dict[str, str], expected: ProxySettings) -> None:
    assert proxy_settings(environment)[0] == expected


@pytest.mark.parametrize(
    "text", ["socks5://p:1080", "https://p:3128", "http://me:hidden-word@p:3128", "http://p:0", "http://a/b"]
)
def test_a_proxy_that_cannot_be_used_is_told_and_its_password_is_not(text: str) -> None:
    found, (note,) = proxy_settings({"HTTPS_PROXY": text})
    assert found.https is None
    assert note.startswith("HTTPS_PROXY has no effect: ")
    assert "hidden-word" not in note


def test_what_is_used_is_told() -> None:
    assert proxy_settings({"https_proxy": "http://p:1"})[1] == (
        "https:// providers are reached through http://p:1, except those in NO_PROXY or on this machine",
    )


@pytest.mark.parametrize(
    ("url", "direct", "through"),
    [
        ("https://api.example.com", (), True),
        ("https://api.example.com", ("example.com",), False),
        ("https://api.example.com", (".example.com",), False),
        ("https://api.example.com", ("*.example.com",), False),
        ("https://example.com", ("API.example.com", "ample.com", ""), True),
        ("https://api.example.com", ("api.example.com:443",), False),
        ("https://api.example.com", ("api.example.com:8443",), True),
        ("https://api.example.com", ("*",), False),
        ("https://10.1.2.3", ("10.0.0.0/8",), False),
        ("https://10.1.2.3", ("10.1.2.3",), False),
        ("https://11.1.2.3", ("10.0.0.0/8", "1.2.3"), True),
        ("https://[fd00::1]:8443", ("fd00::/8",), False),
        ("https://[fd00::1]:8443", ("[fd00::1]:8443",), False),
        ("https://[fd00::1]:8443", ("fe80::/10",), True),
        ("https://localhost:8443", (), False),
        ("https://127.0.0.2", (), False),
        ("https://[::1]", (), False),
        ("http://api.example.com", (), False),
    ],
)
def test_what_is_excepted_is_reached_directly(url: str, direct: tuple[str, ...], through: bool) -> None:
    assert (ProxySettings(https=_PROXY, direct=direct).to(parse_url(url)) == _PROXY) is through


def test_a_provider_may_say_direct() -> None:
    assert parse_proxy("direct") == "direct"
    assert parse_proxy("http://proxy.corp:3128") == _PROXY
