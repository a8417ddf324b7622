"""HealthProbes through a real Envoy: a probe takes the way of every request, and its verdict steers them."""

import asyncio
import base64
import json
import ssl
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import trustme
from prometheus_client import CollectorRegistry
from tests.envoy.cast import LONG, PLAIN, say
from tests.envoy.stage import Stage
from tests.envoy.upstream import Got, Reply, Upstream, completion
from tests.waiting import until

from limpet_extproc.contract.health_stream import Probed, ProbeRequest
from limpet_operator.laptop.machine import free_port
from limpet_operator.probe.view import ProbeResult
from limpet_operator.resources.problem import ObjectKey

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

QUICK = {"interval": "3s", "timeout": "3s", "thresholds": {"failuresToDown": 1, "successesToUp": 1}}
MODELS = {"http": {"path": "/models"}}
LISTED = Reply(headers={"content-type": "application/json"}, body={"object": "list", "data": []})


def probe(name: str, providers: Sequence[str], **spec: Any) -> Mapping[str, Any]:
    refs = {"providerRefs": [{"name": provider} for provider in providers]}
    return {
        "apiVersion": "limpet.dev/v1alpha1",
        "kind": "HealthProbe",
        "metadata": {"name": name},
        "spec": {**QUICK, **refs, **spec},
    }


def apply(stage: Stage, specs: Mapping[str, Mapping[str, Any]], *probes: Mapping[str, Any]) -> None:
    """Serve these sellers and probe them."""
    stage.gateway.apply(stage.planned([*stage.objects([*specs], specs, {}), *probes], {}))


def found(stage: Stage, name: str) -> dict[str, ProbeResult]:
    """What a HealthProbe has found, by seller."""
    results = stage.gateway.prober.results().get(ObjectKey("HealthProbe", "default", name), ())
    return {stage.seller_of(result.provider): result for result in results}


async def verdicts(stage: Stage, name: str, **expected: str) -> dict[str, ProbeResult]:
    """The same, once the verdicts are as expected."""

    def as_expected() -> bool:
        return {seller: result.verdict for seller, result in found(stage, name).items()} == expected

    try:
        await until(as_expected)
    except AssertionError as error:
        raise AssertionError(f"{name}: {found(stage, name)}") from error
    return found(stage, name)


def told(stage: Stage, seller: str) -> Sequence[Probed]:
    """What workers have been told about a seller."""
    return stage.gateway.prober.probed().get(stage.provider(seller), ())


async def test_a_probe_takes_the_way_of_a_request_with_the_providers_own_key_and_path(stage: Stage) -> None:
    async with Upstream(lambda _: LISTED) as upstream:
        url = f"http://127.0.0.1:{upstream.port}/b/v1?api-version=1"
        headers = {"set": [{"name": "x-team", "value": "ours"}]}
        apply(stage, {"b": {"url": url, "headers": headers}}, probe("way", [stage.provider("b")], **MODELS))
        await verdicts(stage, "way", b="Up")
        got = upstream.got[0]
    assert got.target == "/b/v1/models?api-version=1"
    assert got.head.startswith(b"GET ")
    sent = dict(got.headers)
    assert sent.pop("user-agent") == "limpet-healthprobe"
    assert sent == {
        "host": f"127.0.0.1:{upstream.port}",
        "accept": "application/json",
        "x-api-key": "key-of-b",
        "x-team": "ours",
    }


async def test_real_sellers_are_up_by_their_models_and_by_a_completion_of_one_token(stage: Stage) -> None:
    everybody = [stage.provider(name) for name in "abcde"]
    apply(
        stage,
        {name: {} for name in "abcde"},
        probe("cheap", everybody, **MODELS),
        probe("real", everybody, completion={"model": stage.model}),
    )
    await verdicts(stage, "cheap", **dict.fromkeys("abcde", "Up"))
    real = await verdicts(stage, "real", **dict.fromkeys("abcde", "Up"))
    assert {result.model for result in real.values()} == {stage.model}
    registry: CollectorRegistry = stage.gateway.registry
    for name in "abcde":
        assert (registry.get_sample_value("limpet_probe_usd_total", {"provider": stage.provider(name)}) or 0) > 0
        (arrival, *_) = [each for each in await stage.arrivals(name) if each.path.endswith("/chat/completions")]
        assert json.loads(base64.b64decode(arrival.body))["model"] == f"flash.{name}"


async def test_a_wrong_key_is_found_before_any_request_and_no_conversation_goes_there(stage: Stage) -> None:
    refusal = Reply(status=401, body={"error": {"message": "Incorrect API key provided: sk-abcdefgh"}})
    async with Upstream(lambda _: refusal) as upstream:
        url = {"url": f"http://127.0.0.1:{upstream.port}/v1"}
        both = [stage.provider(name) for name in "ab"]
        apply(stage, {"a": url, "b": {}}, probe("keys", both, **MODELS))
        results = await verdicts(stage, "keys", a="Down", b="Up")
        await stage.out("a")
        answers = [await stage.ask(f"{LONG} Conversation {number}.") for number in range(6)]
        assert {answer.seller for answer in answers} == {"b"}
        assert {got.target for got in upstream.got} == {"/v1/models"}
        refused = results["a"]
        assert (refused.cause, refused.status) == ("CredentialRefused", 401)
        assert refused.message == "Incorrect API key provided: [key]"

        upstream.script = lambda got: LISTED if got.target == "/v1/models" else completion()
        await verdicts(stage, "keys", a="Up", b="Up")


def _served(status: int = 200, kind: str = "application/json", body: object = b"", **headers: str) -> Reply:
    return Reply(status=status, headers={"content-type": kind, **headers}, body=body)


BAD_ANSWERS: Mapping[str, tuple[Reply, str, str]] = {
    "redirect": (_served(302, location="http://127.0.0.1:9/"), "Down", "Redirected"),
    "html": (_served(kind="text/html", body=b"<html><h1>Sign in</h1></html>"), "Down", "NotAnAnswer"),
    "error": (_served(body={"error": {"message": "no such account"}}), "Down", "ErrorInAnswer"),
    "broken": (_served(500, body=b"oops"), "Down", "ServerError"),
    "poor": (_served(402, body={"error": {"message": "Insufficient Balance"}}), "Down", "NoCredit"),
    "limited": (_served(429, body=b"slow down", **{"retry-after": "30"}), "Limited", "Limited"),
    "slow": (Reply(body={"data": []}, delay_s=30.0), "Down", "Timeout"),
}


async def test_a_path_that_a_provider_does_not_have_says_nothing_about_the_provider(stage: Stage) -> None:
    async with Upstream(lambda _: _served(404, "text/plain", b"Not Found")) as upstream:
        url = {"url": f"http://127.0.0.1:{upstream.port}/v1"}
        apply(stage, {"a": url}, probe("bad", [stage.provider("a")], http={"path": "/v1/models"}))
        await until(lambda: any(each.rejected for of in stage.gateway.prober.results().values() for each in of))
        (result,) = next(iter(stage.gateway.prober.results().values()))
        assert (result.verdict, result.status, result.rejected) == (None, 404, "GET /v1/v1/models")
        assert told(stage, "a") == ()


@pytest.mark.parametrize("case", BAD_ANSWERS)
async def test_what_is_not_a_good_answer_is_not_up_and_has_its_cause(stage: Stage, case: str) -> None:
    reply, verdict, cause = BAD_ANSWERS[case]
    async with Upstream(lambda _: reply) as upstream:
        url = {"url": f"http://127.0.0.1:{upstream.port}/v1"}
        apply(stage, {"a": url}, probe("bad", [stage.provider("a")], **MODELS))
        results = await verdicts(stage, "bad", a=verdict)
    assert results["a"].cause == cause


async def test_a_hanging_provider_is_down_although_its_own_time_limit_is_shorter_than_the_probes(stage: Stage) -> None:
    async with Upstream(lambda _: BAD_ANSWERS["slow"][0]) as upstream:
        spec = {"url": f"http://127.0.0.1:{upstream.port}/v1", "timeouts": {"unstreamed": "500ms"}}
        completions = {"completion": {"model": stage.model}}
        apply(stage, {"a": spec}, probe("hangs", [stage.provider("a")], **completions))
        results = await verdicts(stage, "hangs", a="Down")
    assert results["a"].cause == "Timeout"
    assert "timeouts.unstreamed" in results["a"].message


@pytest.mark.parametrize(
    ("url", "cause", "words"),
    [
        ("http://no-such-host.invalid/v1", "NameNotResolved", "the name no-such-host.invalid has no address"),
        ("http://127.0.0.1:{closed}/v1", "ConnectionRefused", "refuses connections"),
        ("https://127.0.0.1:{strange}/v1", "TLSFailed", "unable to get local issuer certificate"),
    ],
    ids=["DNS", "refused", "TLS"],
)
async def test_each_way_of_not_reaching_a_provider_has_its_name(stage: Stage, url: str, cause: str, words: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    strangers = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=context)
    async with strangers:
        where = url.format(closed=free_port(), strange=strangers.sockets[0].getsockname()[1])
        apply(stage, {"a": {"url": where}}, probe("way", [stage.provider("a")], **MODELS))
        results = await verdicts(stage, "way", a="Down")
    assert results["a"].cause == cause
    assert words in results["a"].message


async def test_a_model_that_is_not_there_leaves_the_providers_other_models_alone(stage: Stage) -> None:
    def script(got: Got) -> Reply:
        if got.json["model"] == PLAIN:
            return completion()
        return _served(404, body={"error": {"message": "The model does not exist", "code": "model_not_found"}})

    async with Upstream(script) as upstream:
        url = {"url": f"http://127.0.0.1:{upstream.port}/v1"}
        ours = [stage.provider("a")]
        apply(
            stage,
            {"a": url},
            probe("gone", ours, completion={"model": stage.model}),
            probe("there", ours, completion={"model": PLAIN}),
        )
        gone = await verdicts(stage, "gone", a="Down")
        await verdicts(stage, "there", a="Up")
    assert (gone["a"].cause, gone["a"].model) == ("ModelNotFound", stage.model)
    expected = {stage.model: "Down", PLAIN: "Up"}
    await until(lambda: {each.model: each.verdict for each in told(stage, "a")} == expected)


async def test_of_two_probes_on_one_provider_the_worse_verdict_counts(stage: Stage) -> None:
    async with Upstream(lambda got: LISTED if got.target == "/v1/models" else _served(500)) as upstream:
        url = {"url": f"http://127.0.0.1:{upstream.port}/v1"}
        ours = [stage.provider("a")]
        apply(stage, {"a": url}, probe("kind", ours, **MODELS), probe("strict", ours, http={"path": "/health"}))
        await verdicts(stage, "kind", a="Up")
        await verdicts(stage, "strict", a="Down")
        await stage.out("a")
        both = ("default/strict", "default/kind")
        await until(lambda: [(each.verdict, each.probes) for each in told(stage, "a")] == [("Down", both)])


async def test_without_a_healthprobe_not_one_probe_reaches_a_provider(stage: Stage) -> None:
    async with Upstream(lambda got: LISTED if got.target == "/v1/models" else completion()) as upstream:
        url = {"url": f"http://127.0.0.1:{upstream.port}/v1"}
        apply(stage, {"a": url}, probe("soon-gone", [stage.provider("a")], **MODELS))
        await verdicts(stage, "soon-gone", a="Up")
        await stage.serve("a", specs={"a": url})
        await until(lambda: not stage.gateway.prober.results())
        before = len(upstream.got)
        for number in range(20):
            await stage.ask([say(f"Turn {number}")])
        assert {got.target for got in upstream.got[before:]} == {"/v1/chat/completions"}


async def test_a_provider_that_envoy_does_not_have_is_blamed_for_nothing(stage: Stage) -> None:
    await stage.serve("a")
    request = ProbeRequest(0, "nobody-at-all", "GET", "/models")
    answer = await stage.gateway.control_plane.health.exchange.ask(request)
    assert (answer.status, answer.failure) == (0, "NC - cluster_not_found -")
