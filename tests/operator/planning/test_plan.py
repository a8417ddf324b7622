"""What is served, and the findings about everything else."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.operator.conftest import Build

from limpet_extproc.contract.prices import Price, PriceRules
from limpet_operator.planning.finding import ACCEPTED, RESOLVED, not_accepted
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.resources.model_prices import ModelPrices
from limpet_operator.resources.problem import ObjectKey


def _refs(planned: Plan, key: ObjectKey) -> tuple[str, str]:
    condition = planned.findings[key].resolved_refs
    return condition.reason, condition.message


def test_a_provider_with_all_that_belongs_to_it(build: Build) -> None:
    planned = build.plan(build.raw("Provider"), build.secret(**{"api-key": "sk-1\n"}), build.raw("Pricing"))
    (provider,) = planned.providers
    assert provider.name == "deepseek"
    assert provider.credential.reveal() == "sk-1"
    assert "sk-1" not in repr(planned)
    assert provider.prices == {"flash": ModelPrices(Price(0.15, 0.60, 0.003, 0.15), PriceRules())}
    assert provider.ca_pem is None
    assert planned.findings.keys() == {build.key("Provider"), build.key("Pricing")}
    for findings in planned.findings.values():
        assert findings.accepted == ACCEPTED
        assert findings.resolved_refs == RESOLVED


def test_nothing_at_all(build: Build) -> None:
    planned = build.plan()
    assert (planned.providers, planned.policies, planned.routing, planned.probes) == ((), (), "Metadata", ())


def test_a_provider_that_asks_for_no_credential(build: Build) -> None:
    (provider,) = build.plan(build.raw("Provider", credential=None)).providers
    assert provider.credential is None


def test_equal_names_in_two_namespaces(build: Build) -> None:
    raws = [build.raw("Provider", namespace=each) for each in ("default", "ai")]
    raws += [build.secret(namespace=each, **{"api-key": f"sk-{each}"}) for each in ("default", "ai")]
    raws += [build.raw("Pricing", namespace="ai")]
    providers = build.plan(*raws).providers
    assert [each.name for each in providers] == ["ai/deepseek", "deepseek"]
    assert [each.credential.reveal() for each in providers] == ["sk-ai", "sk-default"]
    assert [bool(each.prices) for each in providers] == [True, False]


@pytest.mark.parametrize(
    ("others", "reason", "message"),
    [
        (
            lambda build: [],
            "SecretNotFound",
            "there is no Secret deepseek in namespace default; create it, or correct spec.credential.secretRef.name",
        ),
        (
            lambda build: [build.secret(namespace="ai")],
            "SecretNotFound",
            "there is no Secret deepseek in namespace default; create it, or correct spec.credential.secretRef.name",
        ),
        (
            lambda build: [build.secret(b="1", a="2")],
            "SecretKeyNotFound",
            "Secret deepseek has no key api-key (it has: a, b); add it, or correct spec.credential.secretRef.key",
        ),
        (
            lambda build: [build.secret() | {"data": {"x": "?"}}],
            "SecretValueInvalid",
            "Secret deepseek can't be read: data.x: is not base64; encode it, or write it as it is below stringData",
        ),
        (
            lambda build: [build.secret() | {"stringData": {}, "data": {"api-key": "/w=="}}],
            "SecretValueInvalid",
            "key api-key of Secret deepseek is not UTF-8; store the API key as plain text",
        ),
        (
            lambda build: [build.secret(**{"api-key": "\n"})],
            "SecretValueInvalid",
            "key api-key of Secret deepseek is empty; store the API key",
        ),
        (
            lambda build: [build.secret(**{"api-key": "a\nb"})],
            "SecretValueInvalid",
            "key api-key of Secret deepseek contains a line break or control character; store the API key alone",
        ),
        (
            lambda build: [build.secret(**{"api-key": "Bearer sk-1"})],
            "SecretValueInvalid",
            "key api-key of Secret deepseek begins with Bearer, which is added anyway; store the API key alone",
        ),
    ],
)
def test_secrets(build: Build, others: Callable[[Build], list[Any]], reason: str, message: str) -> None:
    planned = build.plan(build.raw("Provider"), build.raw("Provider", "other", credential=None), *others(build))
    assert _refs(planned, build.key("Provider")) == (reason, message)
    assert [each.name for each in planned.providers] == ["other"]


@pytest.mark.parametrize(
    ("env", "reason", "message"),
    [
        (
            {},
            "EnvVarNotSet",
            (
                "environment variable DEEPSEEK_API_KEY is not set; on a laptop export it before starting, "
                "in a cluster use spec.credential.secretRef"
            ),
        ),
        ({"DEEPSEEK_API_KEY": ""}, "SecretValueInvalid", "variable DEEPSEEK_API_KEY is empty; store the API key"),
        (
            {"DEEPSEEK_API_KEY": "\udcff"},
            "SecretValueInvalid",
            "variable DEEPSEEK_API_KEY is not UTF-8; store the API key as plain text",
        ),
        ({"DEEPSEEK_API_KEY": "sk-1"}, *RESOLVED[2:]),
    ],
)
def test_environment(build: Build, env: dict[str, str], reason: str, message: str) -> None:
    planned = build.plan(build.raw("Provider", credential={"env": "DEEPSEEK_API_KEY"}), env=env)
    assert _refs(planned, build.key("Provider")) == (reason, message)
    assert [each.credential.reveal() for each in planned.providers] == (["sk-1"] if reason == "ResolvedRefs" else [])


CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBgzCCASmgAwIBAgIUMdYUWG8mmsr9Jy6ypHrW1Um2C8owCgYIKoZIzj0EAwIw
FjEUMBIGA1UEAwwLbGltcGV0LXRlc3QwIBcNMjYxMTIyMTgxNjI1WhgPMjEyNjEw
MjkxODE2MjVaMBYxFDASBgNVBAMMC2xpbXBldC10ZXN0MFkwEwYHKoZIzj0CAQYI
KoZIzj0DAQcDQgAEVDzS98Co7dwwiNh95x79bTfaBrOlSzr84i9PleSIqLg/xpno
vo8Am7h4lLQC6P83lHy1C2Hh1J7ohmEmch/VXqNTMFEwHQYDVR0OBBYEFEGTxC4x
J47DIS1YjIcueOcG6MhjMB8GA1UdIwQYMBaAFEGTxC4xJ47DIS1YjIcueOcG6Mhj
MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAKa2+uCUUVX9zQC9
ORERX3hQQUQOjoawUjcbUSWJ+T3xAiAoX8DI9DJ9IJDbM2uNenbJMu3eap1C4oRW
taKRTiFk9Q==
-----END CERTIFICATE-----
"""


def _configmap(text: str, kind: str = "ConfigMap") -> dict[str, Any]:
    values: dict[str, Any] = {"data" if kind == "ConfigMap" else "stringData": {"ca.crt": text}}
    return {"apiVersion": "v1", "kind": kind, "metadata": {"name": "corp-ca"}, **values}


@pytest.mark.parametrize("kind", ["ConfigMap", "Secret"])
def test_private_authority(build: Build, kind: str) -> None:
    tls = {"caCertificateRef": {"kind": kind, "name": "corp-ca", "key": "ca.crt"}}
    (provider,) = build.plan(build.raw("Provider", credential=None, tls=tls), _configmap(CERTIFICATE, kind)).providers
    assert provider.ca_pem == CERTIFICATE


@pytest.mark.parametrize(
    ("others", "reason", "message"),
    [
        (
            [],
            "CACertificateNotFound",
            "there is no ConfigMap corp-ca in namespace default; create it, or correct spec.tls.caCertificateRef",
        ),
        (
            [_configmap("x", "Secret")],
            "CACertificateNotFound",
            (
                "there is no ConfigMap corp-ca in namespace default; there is a Secret of that name: "
                "set kind: Secret, or correct spec.tls.caCertificateRef"
            ),
        ),
        (
            [_configmap("x") | {"data": {"tls.crt": "x"}}],
            "CACertificateNotFound",
            "ConfigMap corp-ca has no key ca.crt (it has: tls.crt); correct spec.tls.caCertificateRef.key",
        ),
        (
            [_configmap("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")],
            "CACertificateInvalid",
            (
                "key ca.crt of ConfigMap corp-ca is not a PEM certificate; "
                "store one or more certificates that begin with -----BEGIN CERTIFICATE-----"
            ),
        ),
        (
            [_configmap("")],
            "CACertificateInvalid",
            (
                "key ca.crt of ConfigMap corp-ca is not a PEM certificate; "
                "store one or more certificates that begin with -----BEGIN CERTIFICATE-----"
            ),
        ),
        (
            [_configmap("-----BEGIN PRIVATE KEY-----")],
            "CACertificateInvalid",
            "key ca.crt of ConfigMap corp-ca contains a private key; store only the authority's certificate",
        ),
    ],
)
def test_bad_private_authority(build: Build, others: list[dict[str, Any]], reason: str, message: str) -> None:
    tls = {"caCertificateRef": {"name": "corp-ca", "key": "ca.crt"}}
    planned = build.plan(build.raw("Provider", credential=None, tls=tls), *others)
    assert _refs(planned, build.key("Provider")) == (reason, message)
    assert planned.providers == ()


def _price(model: str, dollars: str) -> dict[str, Any]:
    return {"name": model, "perMillionTokens": {"input": dollars, "output": dollars}}


def test_pricing_of_nobody(build: Build) -> None:
    planned = build.plan(build.raw("Pricing"))
    assert _refs(planned, build.key("Pricing")) == (
        "ProviderNotFound",
        "there is no Provider deepseek in namespace default; create it, or correct spec.providerRef.name",
    )


def test_pricing_of_a_provider_that_is_invalid_waits_for_it(build: Build) -> None:
    planned = build.plan(build.raw("Pricing"), build.raw("Provider", weight=-1))
    assert planned.findings[build.key("Pricing")].ok
    assert planned.findings[build.key("Provider")].accepted == not_accepted(
        "Invalid", "spec.weight: is -1; write 0 or more"
    )


def test_pricing_of_a_model_that_is_not_served_leaves_the_others_priced(build: Build) -> None:
    models = [_price("flas", "1"), _price("flash", "2")]
    planned = build.plan(build.raw("Provider", credential=None), build.raw("Pricing", models=models))
    assert _refs(planned, build.key("Pricing")) == (
        "ModelNotServed",
        "Provider deepseek does not serve flas; correct the name; did you mean flash?",
    )
    assert planned.providers[0].prices["flash"].price.input == 2.0


def test_a_window_of_an_unknown_zone_leaves_the_other_prices(build: Build) -> None:
    windows = [
        {"name": "night", "from": "22:00", "to": "06:00", "factor": "0.5"},
        {"name": "noon", "timeZone": "Europe/Berln", "from": "12:00", "to": "13:00", "factor": "2"},
    ]
    planned = build.plan(build.raw("Provider", credential=None), build.raw("Pricing", windows=windows))
    assert _refs(planned, build.key("Pricing")) == (
        "TimeZoneNotFound",
        (
            'spec.windows[1].timeZone: "Europe/Berln" is not in the IANA time zone database; window noon is left out, '
            "and its hours have the usual prices; correct it; did you mean Europe/Berlin?"
        ),
    )
    flash = planned.providers[0].prices["flash"]
    assert (flash.price.input, [window.name for window in flash.rules.windows]) == (0.15, ["night"])


def test_two_prices_for_one_model(build: Build) -> None:
    planned = build.plan(
        build.raw("Pricing", "b", models=[_price("flash", "2"), _price("pro", "2")]),
        build.raw("Pricing", "a", models=[_price("flash", "1")]),
        build.raw("Provider", credential=None, models=[{"name": "flash"}, {"name": "pro"}]),
    )
    assert {model: each.price.input for model, each in planned.providers[0].prices.items()} == {
        "flash": 1.0,
        "pro": 2.0,
    }
    assert planned.findings[build.key("Pricing", "a")].ok
    assert planned.findings[build.key("Pricing", "b")].accepted == not_accepted(
        "Conflicted",
        "flash of Provider deepseek is already priced by Pricing a, which takes precedence; "
        "remove the model from one of them",
    )


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        ({}, *RESOLVED[2:]),
        ({"providerSelector": {"matchLabels": {"tier": "fast"}}}, *RESOLVED[2:]),
        ({"providerSelector": None, "providerRefs": [{"name": "deepseek"}]}, *RESOLVED[2:]),
        ({"http": None, "completion": {"model": "flash"}}, *RESOLVED[2:]),
        (
            {"providerSelector": {"matchLabels": {"tier": "slow"}}},
            "NothingSelected",
            (
                "no Provider in namespace default is selected; "
                "correct spec.providerSelector.matchLabels, or label the Providers"
            ),
        ),
        (
            {"providerSelector": None, "providerRefs": [{"name": "deepsek"}]},
            "ProviderNotFound",
            "there is no Provider deepsek in namespace default; correct spec.providerRefs; did you mean deepseek?",
        ),
        (
            {"http": None, "completion": {"model": "flush"}},
            "ModelNotServed",
            "Provider deepseek does not serve flush; correct spec.completion.model; did you mean flash?",
        ),
    ],
)
def test_probes(build: Build, spec: dict[str, Any], reason: str, message: str) -> None:
    planned = build.plan(
        build.raw("Provider", credential=None, labels={"tier": "fast"}),
        build.raw("Provider", namespace="ai", credential=None, models=[{"name": "x"}], labels={"tier": "slow"}),
        build.raw("HealthProbe", **spec),
    )
    assert _refs(planned, build.key("HealthProbe")) == (reason, message)
    assert len(planned.probes) == (reason == "ResolvedRefs")


def _targets(planned: Plan) -> list[list[tuple[str, str]]]:
    return [[(target.provider, target.upstream_model) for target in probe.targets] for probe in planned.probes]


def test_a_probe_goes_to_what_it_selects_by_the_names_used_there(build: Build) -> None:
    models = [{"name": "flash", "upstreamName": "flash-v4"}]
    planned = build.plan(
        build.raw("Provider", "b", credential=None, models=models),
        build.raw("Provider", "a", credential=None),
        build.raw("Provider", "c", namespace="ai", credential=None),
        build.raw("HealthProbe", "cheap"),
        build.raw("HealthProbe", "real", http=None, completion={"model": "flash"}),
    )
    assert _targets(planned) == [[("a", ""), ("b", "")], [("a", "flash"), ("b", "flash-v4")]]


def test_a_provider_that_cannot_be_probed_keeps_no_other_from_it(build: Build) -> None:
    refs = [{"name": name} for name in ("good", "keyless", "no-such-model", "missing", "other-api")]
    planned = build.plan(
        build.raw("Provider", "good", credential=None),
        build.raw("Provider", "keyless"),
        build.raw("Provider", "no-such-model", credential=None, models=[{"name": "x"}]),
        build.raw("Provider", "other-api", dialects=[], endpoints=["embeddings"], credential=None),
        build.raw("HealthProbe", providerSelector=None, providerRefs=refs, http=None, completion={"model": "flash"}),
    )
    assert _targets(planned) == [[("good", "flash")]]
    findings = planned.findings[build.key("HealthProbe")]
    assert findings.resolved_refs.reason == "ProviderNotFound"
    assert [note.reason for note in findings.notes] == ["NoCompletions"]
    assert "Provider other-api is not probed" in findings.notes[0].message


@pytest.mark.parametrize(
    ("refs", "reason", "message"),
    [
        (
            ["good", "missing"],
            "ProviderNotFound",
            "there is no Provider missing in namespace default (the others are probed); correct spec.providerRefs",
        ),
        (
            ["good", "bad"],
            "ProviderNotAccepted",
            "Provider bad is not accepted, so it is not probed (the others are probed); correct it first",
        ),
        (["bad"], "ProviderNotAccepted", "Provider bad is not accepted, so it is not probed; correct it first"),
    ],
)
def test_a_probe_says_that_the_others_are_probed(build: Build, refs: list[str], reason: str, message: str) -> None:
    planned = build.plan(
        build.raw("Provider", "good", credential=None),
        build.raw("Provider", "bad", url="ftp://bad.example"),
        build.raw("HealthProbe", providerSelector=None, providerRefs=[{"name": name} for name in refs]),
    )
    assert _refs(planned, build.key("HealthProbe")) == (reason, message)
    assert _targets(planned) == ([[("good", "")]] if "good" in refs else [])


def test_policies(build: Build) -> None:
    planned = build.plan(
        build.raw("StickyPolicy", "c", models=["z"], routing="Header"),
        build.raw("StickyPolicy", "b", models=["x", "z"]),
        build.raw("StickyPolicy", "a", models=["x"]),
        build.raw("StickyPolicy", "d", models=["z"]),
    )
    assert [policy.name for policy in planned.policies] == ["a", "c"]
    assert planned.routing == "Header"
    messages = {key.name: findings.accepted.message for key, findings in planned.findings.items()}
    assert messages == {
        "a": ACCEPTED.message,
        "b": '"x" is already in StickyPolicy a, which takes precedence; remove it from one of them',
        "c": ACCEPTED.message,
        "d": '"z" is already in StickyPolicy c, which takes precedence; remove it from one of them',
    }
    assert planned.findings[build.key("StickyPolicy", "b")].accepted.reason == "Conflicted"


def test_unchanged_providers_are_the_same_objects(build: Build) -> None:
    raws = [build.raw("Provider", name, credential={"env": name.upper()}) for name in "abc"]
    raws += [build.raw("Pricing", name, providerRef={"name": name}) for name in "abc"]
    before = build.objects(*raws)
    env = {"A": "1", "B": "2", "C": "3"}
    first = plan(before, env)
    assert all(new is old for new, old in zip(plan(before, env, first).providers, first.providers, strict=True))
    second = plan(before, env | {"B": "22"}, first)
    assert [new is old for new, old in zip(second.providers, first.providers, strict=True)] == [True, False, True]
    assert second.providers[1].credential.reveal() == "22"
    dearer: dict[ObjectKey, Any] = dict(before.parsed)
    dearer[build.key("Pricing", "c")] = build.parser.parse(
        build.raw("Pricing", "c", providerRef={"name": "c"}, models=[_price("flash", "9")])
    )
    third = plan(type(before)(dearer), env, first)
    assert [new is old for new, old in zip(third.providers, first.providers, strict=True)] == [True, True, False]
    assert third == plan(type(before)(dearer), env)
    unset = plan(before, {"A": "1", "C": "3"}, first)
    assert [each.name for each in unset.providers] == ["a", "c"]
    again = plan(before, env, unset)
    assert again == first


NAMES = st.sampled_from(["a", "b", "c"])
SPACES = st.sampled_from(["default", "ai"])


@st.composite
def _raws(draw: st.DrawFn, build: Build) -> dict[str, Any]:
    name, namespace = draw(NAMES), draw(SPACES)
    match draw(st.sampled_from(["Provider", "Pricing", "HealthProbe", "StickyPolicy", "Secret"])):
        case "Provider":
            credential = draw(
                st.sampled_from([None, {"env": "SET"}, {"env": "UNSET"}, {"secretRef": {"name": "a", "key": "k"}}])
            )
            weight = draw(st.sampled_from([1, 100, -1]))
            return build.raw("Provider", name, namespace, credential=credential, weight=weight)
        case "Pricing":
            model = draw(st.sampled_from(["flash", "pro"]))
            return build.raw("Pricing", name, namespace, providerRef={"name": draw(NAMES)}, models=[_price(model, "1")])
        case "HealthProbe":
            return build.raw(
                "HealthProbe", name, namespace, providerSelector=None, providerRefs=[{"name": draw(NAMES)}]
            )
        case "StickyPolicy":
            return build.raw("StickyPolicy", name, namespace, models=[draw(st.sampled_from(["x", "*"]))])
        case _:
            return build.secret(name, namespace, k=draw(st.sampled_from(["1", "", "a\nb"])))


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_order_does_not_matter_and_work_saved_changes_nothing(build: Build, data: st.DataObject) -> None:
    raws = data.draw(
        st.lists(_raws(build), max_size=8, unique_by=lambda raw: (raw["kind"], *raw["metadata"].values())[:3])
    )
    env = {"SET": "1"}
    planned = build.plan(*raws, env=env)
    shuffled = build.plan(*data.draw(st.permutations(raws)), env=env)
    assert shuffled == planned
    fewer = build.plan(*raws[1:], env=env)
    assert plan(build.objects(*raws), env, fewer) == planned


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_bad_object_changes_nothing_for_the_others(build: Build, data: st.DataObject) -> None:
    raws = data.draw(st.lists(_raws(build), max_size=6))
    kind = data.draw(st.sampled_from(["Provider", "Pricing", "HealthProbe", "StickyPolicy"]))
    junk: dict[str, Any] = data.draw(
        st.sampled_from([{"spec": 5}, {"spec": {"nonsense": 1}}, {"spec": None}, {"metadata": {"name": "UP"}}])
    )
    bad = build.raw(kind, "bad") | (
        {"spec": {"nonsense": 1}} if kind == "StickyPolicy" and junk == {"spec": None} else junk
    )
    without, beside = build.plan(*raws), build.plan(*raws, bad)
    assert beside.providers == without.providers
    assert (beside.policies, beside.routing, beside.probes) == (without.policies, without.routing, without.probes)
    assert {key: each for key, each in beside.findings.items() if key.name != "bad"} == without.findings
