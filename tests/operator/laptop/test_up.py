"""The output of `limpet up`: only what is true of the running gateway."""

from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_operator.laptop.up import greeting, summary

URL = "http://127.0.0.1:10000/v1"


def _provider(build: Build, name: str, *models: str, **spec: Any) -> dict[str, Any]:
    return build.raw("Provider", name, credential=None, models=[{"name": model} for model in models], **spec)


@pytest.mark.parametrize(
    ("providers", "text"),
    [
        ([], "0 models over 0 providers (none yet)"),
        ([("a", "m")], "1 model over 1 provider (a)"),
        ([("a", "m", "n"), ("b", "n")], "2 models over 2 providers (a, b)"),
        ([(f"p{n}", "m") for n in range(7)], "1 model over 7 providers (p0, p1, p2, p3, p4 and 2 more)"),
    ],
)
def test_models_and_providers_are_counted(build: Build, providers: list[tuple[str, ...]], text: str) -> None:
    assert summary(build.plan(*(_provider(build, *each) for each in providers))) == text


def test_what_no_request_can_reach_is_neither_counted_nor_suggested(build: Build) -> None:
    claude = _provider(build, "claude", "claude-sonnet", vendor="Anthropic")
    alone = "\n".join(greeting(build.plan(claude), URL, "127.0.0.1", 0))
    assert "Limpet routes 0 models over 0 providers (none yet)" in alone
    assert "curl" not in alone
    both = "\n".join(greeting(build.plan(claude, _provider(build, "zz", "flash")), URL, "127.0.0.1", 0))
    assert "1 model over 1 provider (zz)" in both
    assert '"model": "flash"' in both


def test_a_model_with_a_quote_in_its_name_is_still_a_command_for_the_shell(build: Build) -> None:
    text = "\n".join(greeting(build.plan(_provider(build, "a", "it's")), URL, "127.0.0.1", 0))
    assert """'{"model": "it'"'"'s",""" in text


def test_probes_are_counted_with_the_providers_that_they_probe(build: Build) -> None:
    providers = [_provider(build, name, "m") for name in "abc"]
    probes = [build.raw("HealthProbe", "all"), build.raw("HealthProbe", "a-too", providerRefs=[{"name": "a"}],
              providerSelector=None)]  # fmt: skip
    text = "\n".join(greeting(build.plan(*providers, *probes), URL, "127.0.0.1", 0))
    assert "\n2 HealthProbes over 3 providers.\n" in text
    assert "HealthProbe" not in "\n".join(greeting(build.plan(*providers), URL, "127.0.0.1", 0))


@pytest.mark.parametrize(
    ("host", "cautioned"),
    [
        ("127.0.0.1", False), ("127.0.0.2", False), ("localhost", False), ("::1", False), ("[::1]", False),
        ("0.0.0.0", True), ("::", True), ("[::]", True), ("10.0.0.7", True), ("gateway.example.com", True),
    ],
)  # fmt: skip
def test_a_gateway_on_the_network_warns_that_it_asks_for_no_key(build: Build, host: str, cautioned: bool) -> None:
    text = "\n".join(greeting(build.plan(), URL, host, 0))
    assert ("CAUTION" in text) is cautioned
    assert ("does not authenticate clients" in text) is cautioned
