"""Durations, URLs and presets: the small values that objects are made of."""

from importlib.resources import files
from typing import Final

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_operator.resources.durations import format_duration, parse_duration
from limpet_operator.resources.url import Url, parse_url
from limpet_operator.resources.vendors import load_vendors


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("250ms", 0.25), ("5s", 5), ("5m", 300), ("1h30m", 5400), ("1h1m1s1ms", 3661.001), ("720h", 2_592_000)],
)
def test_duration(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(format_duration(seconds)) == seconds


@given(st.integers(1, 10**10))
def test_durations_come_back(milliseconds: int) -> None:
    assert parse_duration(format_duration(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize("text", ["", "5", "5 m", "m5", "5m ", "-5m", "1.5s", "5d", "5m\n"])
def test_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration; write one such as"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://api.deepseek.com/v1", Url("https", "api.deepseek.com", 443, "/v1")),
        ("https://API.deepseek.com", Url("https", "api.deepseek.com", 443, "")),
        ("https://api.deepseek.com/", Url("https", "api.deepseek.com", 443, "")),
        ("http://127.0.0.1:19101/v1/", Url("http", "127.0.0.1", 19101, "/v1")),
        ("http://llama/a/b", Url("http", "llama", 80, "/a/b")),
        ("http://[::1]:8000/v1", Url("http", "::1", 8000, "/v1")),
        ("http://llama_cpp:8080", Url("http", "llama_cpp", 8080, "")),
        ("https://a.b/v1/?x=1&y=/?", Url("https", "a.b", 443, "/v1", "x=1&y=/?")),
    ],
)
def test_url(text: str, url: Url) -> None:
    assert parse_url(text) == url
    assert parse_url(str(url)) == url


def test_no_such_port() -> None:
    with pytest.raises(ValueError, match="port 65536 does not exist; write one between 1 and 65535"):
        parse_url("http://a:65536")


@pytest.mark.parametrize(
    ("text", "authority"),
    [
        ("https://API.a.b/v1", "api.a.b"),
        ("https://a.b:80", "a.b:80"),
        ("http://a.b:80", "a.b"),
        ("http://[2001:DB8::1]/", "[2001:db8::1]"),
        ("https://[::1]:8000", "[::1]:8000"),
    ],
)
def test_what_the_host_header_says(text: str, authority: str) -> None:
    assert parse_url(text).authority == authority


@pytest.mark.parametrize(
    "host", ["[1::2::3]", "[::g]", "[1.2.3.4]", "1.2.3.256", "1.2.3", "a..b", ".a", "a" * 64 + ".b"]
)
def test_no_such_host(host: str) -> None:
    with pytest.raises(ValueError, match=r"is not an? (IPv6 address|IPv4 address|host name)"):
        parse_url(f"http://{host}/v1")


def test_what_a_preset_passes_is_no_secret_and_no_account() -> None:
    for name, vendor in load_vendors().items():
        for header in (*vendor.headers, vendor.affinity_header):
            assert header == header.lower(), name
            assert not any(word in header for word in ("auth", "key", "token", "cookie", "org", "project")) or (
                header == "x-smg-routing-key"
            ), name


_SOURCED: Final = {
    *("affinity", "answerLimit", "cacheControl", "cacheKey", "headers", "query", "retention", "streamUsage", "usage"),
    "userId",
}


def test_each_preset_has_its_source_and_how_certain_it_is() -> None:
    for name, entry in yaml.safe_load((files("limpet_operator.resources") / "vendors.yaml").read_bytes()).items():
        assert entry["source"], name
        assert entry["confidence"] in ("high", "medium", "low"), name
        for field in _SOURCED & entry.keys():
            assert entry[field]["source"], (name, field)


def test_every_vendor_has_a_preset(build: Build) -> None:
    for vendor in load_vendors():
        provider = build.parser.parse(build.raw("Provider", vendor=vendor))
        assert provider.vendor == vendor
        assert provider.cache.caches is (vendor != "Custom")
        assert provider.cache_fields.free_unmarked is (vendor in {"Alibaba", "MiniMax"})
        assert provider.always_reports_usage is (vendor in {"Anthropic", "Mistral", "OpenRouter", "SGLang", "VLLM"})


@pytest.mark.parametrize(
    ("vendor", "upstream", "tokens"),
    [
        ("Anthropic", "claude-opus-5-5", 512),
        ("Anthropic", "claude-opus-4-5-20260101", 4096),
        ("Anthropic", "anthropic/claude-sonnet-5", 1024),
        ("Anthropic", "claude-sonnet-5-5", 512),
        ("OpenAI", "gpt-6", 1024),
        ("Custom", "anything", 0),
    ],
)
def test_shortest_cached_prompt(vendor: str, upstream: str, tokens: int) -> None:
    assert load_vendors()[vendor].min_tokens(upstream) == tokens
