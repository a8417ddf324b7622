"""The output of `limpet up`: only what is true of the running gateway."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.operator.conftest import Build

from limpet_extproc.contract.catalog import Trouble
from limpet_operator.fleet.view import Traffic, TrafficState
from limpet_operator.laptop.up import HealthNews, greeting, summary
from limpet_operator.planning.finding import ObjectFindings
from limpet_operator.probe.view import ProbeResult
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.status.health import ProviderHealth, provider_health

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
    claude = _provider(build, "claude", "claude-sonnet", dialects=[], endpoints=[])
    alone = "\n".join(greeting(build.plan(claude), URL, "127.0.0.1", 0))
    assert "Limpet routes 0 models over 0 providers (none yet)" in alone
    assert "curl" not in alone
    both = "\n".join(greeting(build.plan(claude, _provider(build, "zz", "flash")), URL, "127.0.0.1", 0))
    assert "1 model over 1 provider (zz)" in both
    assert '"model": "flash"' in both


def test_an_anthropic_sdk_is_told_where_to_go_if_somebody_speaks_its_api(build: Build) -> None:
    claude = _provider(build, "claude", "claude-sonnet", vendor="Anthropic")
    text = "\n".join(greeting(build.plan(claude), URL, "127.0.0.1", 0))
    assert "Point any OpenAI or Anthropic SDK at it" in text
    assert f"export ANTHROPIC_BASE_URL={URL.removesuffix('/v1')}\n" in text
    assert '"model": "claude-sonnet"' in text
    chat = _provider(build, "chat", "flash", dialects=["OpenAIChat"])
    assert "ANTHROPIC" not in "\n".join(greeting(build.plan(chat), URL, "127.0.0.1", 0))


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


class News:
    """A HealthNews whose time passes when the test says so."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.due: list[Callable[[], None]] = []
        self.news = HealthNews(self.said.append, self.due.append)

    def settle(self) -> list[str]:
        """The lines that are said now, without their time."""
        self.said.clear()
        for report in self.due[:]:
            self.due.remove(report)
            report()
        return [line.partition("  ")[2] for line in self.said]


def _health(trouble: Trouble | None, cause: str = "") -> dict[str, ProviderHealth]:
    return {"a": provider_health(ObjectFindings(), Traffic(TrafficState(trouble, 9.0, cause)))}


def test_what_changes_twice_within_a_moment_is_one_line() -> None:
    stage = News()
    stage.news.providers(_health(None))
    assert stage.settle() == []
    stage.news.providers(_health("degraded", "ErrorRate"))
    stage.news.providers(_health("down", "Timeout"))
    (line,) = stage.settle()
    assert line.startswith("a is Down (Timeout): ")
    stage.news.providers(_health(None))
    stage.news.providers(_health("down", "Timeout"))
    assert stage.settle() == []


def test_nothing_is_said_once_it_ends() -> None:
    stage = News()
    stage.news.providers(_health("down", "Timeout"))
    stage.news.end()
    assert stage.settle() == []


def test_a_probe_that_is_wrong_itself_is_said_once() -> None:
    stage, key = News(), ObjectKey("HealthProbe", "default", "keys")
    wrong = ProbeResult("a", last_cause="UnusableStatus", status=404, rejected="GET /v1/v1/models")
    told = ["HealthProbe keys (ProbeRejected): a answers GET /v1/v1/models with 404: correct spec.http.path"]
    for results, lines in [([wrong], told), ([wrong], []), ([ProbeResult("a", "Up")], []), ([wrong], told)]:
        stage.news.probes({key: results})
        assert stage.settle() == lines
