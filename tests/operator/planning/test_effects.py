"""What has no effect is reported, and nothing else is."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_operator.planning.effects import ModelNames
from limpet_operator.resources.unused_fields import unused_fields

WINDOW = {"name": "night", "from": "00:00", "to": "06:00", "factor": "0.5"}
LATER, WITHIN = WINDOW | {"name": "later", "from": "05:00", "to": "07:00"}, WINDOW | {"name": "within", "to": "05:00"}
HOUR = [{"name": "flash", "perMillionTokens": {"input": "1", "cacheWrite1h": "2", "output": "1"}}]


@pytest.mark.parametrize(
    ("kind", "spec", "reason", "message"),
    [
        ("Provider", {}, None, ""),
        ("Provider", {"vendor": "Anthropic"}, None, ""),
        ("Provider", {"dialects": [], "endpoints": ["embeddings"]}, None, ""),
        (
            "Provider",
            {"models": [{"name": "flash"}, {"name": "*"}]},
            "NotAPattern",
            'name "*" is not a pattern',
        ),
        ("Provider", {"models": [{"name": "deepseek/*"}]}, "NotAPattern", "list the models one by one"),
        ("Provider", {"cache": {"blockTokens": 64}}, "FieldWithoutEffect", "spec.cache.blockTokens has no effect"),
        ("Provider", {"cache": {"minTokens": 64}}, None, ""),
        ("Provider", {"promptCaching": "Auto"}, None, ""),
        (
            "Provider",
            {"vendor": "OpenAI", "promptCaching": "Auto"},
            "FieldWithoutEffect",
            "Auto has no effect: vendor OpenAI reads no cache_control in OpenAIChat and OpenAIResponses",
        ),
        (
            "Provider",
            {"vendor": "Custom", "dialects": ["AnthropicMessages"], "promptCaching": "Auto"},
            "FieldWithoutEffect",
            "Auto has no effect at a provider without a prompt cache",
        ),
        ("Provider", {"vendor": "MiniMax", "paths": {"AnthropicMessages": "/v1"}}, None, ""),
        (
            "Provider",
            {"vendor": "OpenAI", "paths": {"AnthropicMessages": "/anthropic/v1"}},
            "FieldWithoutEffect",
            "spec.paths.AnthropicMessages has no effect: AnthropicMessages is not among the dialects",
        ),
        ("Pricing", {}, None, ""),
        ("Pricing", {"windows": [WINDOW]}, None, ""),
        ("Pricing", {"windows": []}, None, ""),
        ("Pricing", {"models": HOUR}, None, ""),
        ("Pricing", {"windows": [WINDOW, LATER]}, None, ""),
        ("Pricing", {"windows": [WINDOW, WITHIN]}, "WindowCovered", "window within never holds: earlier windows"),
        (
            "Pricing",
            {"windows": [{"name": "within", "from": "00:00", "to": "05:00", "models": [HOUR[0] | {"name": "flsh"}]}]},
            "NoUsualPrice",
            "prices flsh, which is not in spec.models and so has no usual price; add it there, or correct the name",
        ),
        ("HealthProbe", {}, None, ""),
        ("HealthProbe", {"http": None, "completion": {"model": "flash"}}, None, ""),
        ("StickyPolicy", {}, None, ""),
        ("StickyPolicy", {"models": ["fla*"]}, None, ""),
        ("StickyPolicy", {"models": ["flash", "*"]}, None, ""),
        ("StickyPolicy", {"models": ["nomatch/*"]}, "MatchesNothing", 'serves a model named "nomatch/*"'),
        ("StickyPolicy", {"models": ["flash*", "flsh"]}, "MatchesNothing", 'serves a model named "flsh"; correct'),
    ],
)
def test_what_has_no_effect_is_reported(
    build: Build, kind: str, spec: dict[str, Any], reason: str, message: str
) -> None:
    others = [] if kind == "Provider" else [build.raw("Provider")]
    notes = build.plan(build.raw(kind, **spec), build.secret(), *others).findings[build.key(kind)].notes
    assert [note.reason for note in notes] == ([reason] if reason else [])
    assert all(message in note.message for note in notes)


@pytest.mark.parametrize("key", ["replace-me", "changeme", "your-api-key", "<your key>", "sk-...", "sk-xxxx", "TODO"])
def test_a_key_that_an_example_came_with_is_reported_and_not_repeated(build: Build, key: str) -> None:
    planned = build.plan(build.raw("Provider"), build.secret(**{"api-key": key}))
    (note,) = planned.findings[build.key("Provider")].notes
    assert note.reason == "PlaceholderKey"
    assert note.message == "key api-key of Secret deepseek still holds the placeholder of an example; store the API key"


@pytest.mark.parametrize("key", ["sk-1", "EMPTY", "dummy-for-vllm", "0"])
def test_a_key_that_may_be_one_is_left_alone(build: Build, key: str) -> None:
    assert (
        build.plan(build.raw("Provider"), build.secret(**{"api-key": key})).findings[build.key("Provider")].notes == ()
    )


@pytest.mark.parametrize(
    ("url", "path", "message"),
    [
        ("https://a.example/v1", "/models", ""),
        ("https://a.example", "/v1/models", ""),
        ("https://a.example/api/v1", "/v1", "so it asks for /api/v1/v1; if /v1 is not there twice, write /"),
        ("https://a.example/v1", "/v1/models", "asks for /v1/v1/models; if /v1 is not there twice, write /models"),
    ],
)
def test_a_probe_whose_path_repeats_the_end_of_the_url_is_noted(
    build: Build, url: str, path: str, message: str
) -> None:
    probe, provider = build.raw("HealthProbe", http={"path": path}), build.raw("Provider", url=url, credential=None)
    notes = build.plan(probe, provider).findings[build.key("HealthProbe")].notes
    assert [note.reason for note in notes] == (["PathRepeated"] if message else [])
    assert all(message in note.message for note in notes)


@pytest.mark.parametrize(
    ("vendor", "url", "more", "message"),
    [
        ("Anthropic", "https://api.anthropic.com", {}, ""),
        ("Anthropic", "https://gw.example/anthropic/v1", {}, ""),
        (
            "Anthropic",
            "https://gw.example/anthropic",
            {},
            (
                "AnthropicMessages is asked for at /anthropic/messages, without /v1; if it is at "
                "/anthropic/v1/messages, as at the vendor itself, let spec.url end in /anthropic/v1"
            ),
        ),
        ("OpenAI", "https://gw.example/openai", {}, "OpenAIChat is asked for at /openai/chat/completions, without /v1"),
        ("OpenAI", "https://gw.example/v1/account/openai", {}, ""),
        ("OpenAI", "https://gw.example/openai/deployments/gpt?api-version=1", {}, ""),
        ("DeepSeek", "https://api.deepseek.com", {}, ""),
        ("DeepSeek", "https://gw.example/deepseek", {}, "AnthropicMessages is asked for at /deepseek/messages"),
        ("DeepSeek", "https://gw.example/deepseek", {"dialects": ["OpenAIChat"]}, ""),
        (
            "DeepSeek",
            "https://gw.example/v1",
            {"paths": {"AnthropicMessages": "/anthropic"}},
            "let spec.paths.AnthropicMessages end in /anthropic/v1",
        ),
    ],
)
def test_a_path_without_the_version_that_its_api_has_everywhere_is_noted(
    build: Build, vendor: str, url: str, more: dict[str, Any], message: str
) -> None:
    provider = build.raw("Provider", vendor=vendor, url=url, credential=None, **more)
    notes = build.plan(provider).findings[build.key("Provider")].notes
    assert [note.reason for note in notes] == (["PathWithoutVersion"] if message else [])
    assert all(message in note.message for note in notes)


def test_of_windows_that_overlap_it_is_said_which_holds(build: Build) -> None:
    accepted = (
        build.plan(build.raw("Provider"), build.raw("Pricing", windows=[WINDOW, LATER]))
        .findings[build.key("Pricing")]
        .accepted
    )
    assert accepted.ok
    assert accepted.message == (
        "used as written; of windows that overlap the first in spec.windows holds: night holds where later would too"
    )


def test_a_provider_that_serves_nothing_is_not_accepted_and_serves_no_pattern(build: Build) -> None:
    idle = build.raw("Provider", dialects=[], endpoints=[])
    raws = idle, build.secret(), build.raw("StickyPolicy", models=["flash"])
    found = build.plan(*raws).findings[build.key("Provider")].accepted
    assert (found.reason, found.status) == ("ServesNothing", "False")
    assert "endpoints: [embeddings]" in found.message
    assert build.plan(*raws).findings[build.key("StickyPolicy")].notes[0].reason == "MatchesNothing"


def test_all_that_is_wrong_with_a_provider_is_told_at_once(build: Build) -> None:
    raw = build.raw("Provider", models=[{"name": "*"}], cache={"blockTokens": 1})
    notes = build.plan(raw, build.secret()).findings[build.key("Provider")].notes
    assert [note.reason for note in notes] == ["NotAPattern", "FieldWithoutEffect"]


@given(st.lists(st.text("ab/-", min_size=1, max_size=5)), st.text("ab/-", max_size=3), st.booleans())
def test_a_pattern_matches_as_requests_are_matched(names: list[str], pattern: str, wild: bool) -> None:
    expected = any(name.startswith(pattern) if wild else name == pattern for name in names)
    assert ModelNames.of(names).match(pattern + "*" * wild) is expected


FIELDS = [("providers", "blockTokens")]


@pytest.mark.parametrize(("crd", "field"), FIELDS)
def test_a_field_without_effect_says_so_where_it_is_described(crd: str, field: str) -> None:
    schema = yaml.safe_load((Path(__file__).parents[3] / "crds" / f"{crd}.yaml").read_text())
    found = list(_descriptions(schema, field))
    assert found
    assert all("has no effect in this version" in each for each in found)


def test_no_field_without_effect_is_missing_from_that_list() -> None:
    assert len(unused_fields("Provider", {"cache": {"blockTokens": 1}})) == len(FIELDS)


def _descriptions(node: Any, field: str) -> Iterator[str]:
    """Wherever a schema has the field."""
    below = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and isinstance(node.get(field), dict):
        yield node[field]["description"]
    for each in below:
        yield from _descriptions(each, field)
