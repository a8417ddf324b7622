"""What of a request reaches a provider, and what of an answer reaches the client: byte for byte, over failovers too."""

from collections.abc import Callable
from typing import Any

import pytest
from tests.envoy.cast import say
from tests.envoy.stage import Raw, Stage
from tests.envoy.upstream import Got, Reply, Upstream, completion

pytestmark = [pytest.mark.envoy, pytest.mark.asyncio(loop_scope="session")]

ALWAYS = {"host", "content-length", "content-type"}

PASSES = {
    "accept": "application/json",
    "user-agent": "OpenAI/Python 2.0",
    "x-stainless-os": "Linux",
    "x-stainless-retry-count": "0",
    "openai-beta": "assistants=v2",
    "anthropic-version": "2023-06-01",
    "anthropic-beta": "a,b",
    "idempotency-key": "k-1",
    "http-referer": "https://app.example",
    "x-title": "App",
}
ENDS = [
    *(
        "cookie",
        "proxy-authorization",
        "x_api_key",
        "x-auth-token",
        "ocp-apim-subscription-key",
        "x-amz-security-token",
    ),
    *("openai-organization", "openai-project", "x-goog-user-project", "helicone-auth", "cf-access-client-secret"),
    *(
        "forwarded",
        "via",
        "x-real-ip",
        "x-client-ip",
        "x-cluster-client-ip",
        "true-client-ip",
        "x-original-forwarded-for",
    ),
    *("x_forwarded_for", "x_envoy_max_retries", "x-original-url", "x-original-uri", "x-rewrite-url", "x-scheme"),
    *("x-http-method-override", "x-method-override", "cf-connecting-ip", "cf-ray", "cdn-loop", "fastly-client-ip"),
    *("fly-client-ip", "x-vercel-id", "x-appengine-user-ip", "x-azure-clientip", "x-amzn-trace-id"),
    *("x-cloud-trace-context", "traceparent", "tracestate", "baggage", "b3", "x-b3-traceid", "uber-trace-id"),
    *("x-goog-iap-jwt-assertion", "x-amzn-oidc-data", "x-auth-request-access-token", "x-ms-client-principal"),
    *("ssl-client-cert", "x-ssl-client-verify", "remote-user", "x-remote-user", "x-forwarded-client-cert"),
    *(
        "origin",
        "referer",
        "sec-fetch-site",
        "sec-ch-ua",
        "dnt",
        "accept-language",
        "if-none-match",
        "range",
        "priority",
    ),
    *("x-session-id", "x-tenant", "x-request-id", "x-stainless", "keep-alive", "proxy-connection", "x-limpet-anything"),
]


def names(got: Got) -> set[str]:
    return {name for name, _ in got.headers}


async def ask(stage: Stage, order: str, headers: dict[str, str], query: str = "") -> Raw:
    wanted = {"order": [stage.provider(name) for name in order]}
    body = {"model": stage.model, "messages": [say("What passes?")], "provider": wanted}
    return await stage.post(body, headers=headers, path=f"/v1/chat/completions{query}")


def refuses(_: Got) -> Reply:
    return Reply(status=503)


@pytest.mark.parametrize("written", [str.lower, str.title])
async def test_a_provider_gets_what_is_listed_and_nothing_else_of_the_clients(
    stage: Stage, written: Callable[[str], str]
) -> None:
    async with Upstream() as upstream:
        await stage.serve("e", specs={"e": {"url": upstream.url}})
        # A page of another origin would not get so far.
        sent = PASSES | dict.fromkeys(map(written, ENDS), "of-the-client")
        sent[written("origin")] = "http://localhost:5173"
        await ask(stage, "e", sent)
    (got,) = upstream.got
    assert names(got) == ALWAYS | set(PASSES)
    assert {name: got.header(name) for name in PASSES} == PASSES


async def test_headers_that_a_connection_names_and_trailers_end_at_the_gateway(stage: Stage) -> None:
    async with Upstream() as upstream:
        await stage.serve("e", specs={"e": {"url": upstream.url}})
        await ask(stage, "e", {"connection": "keep-alive, x-title", "x-title": "hop", "te": "trailers", "x-hop": "1"})
    (got,) = upstream.got
    assert not names(got) & {"connection", "te", "x-hop", "trailer", "transfer-encoding"}


async def test_a_header_that_only_the_second_provider_gets_reaches_it_and_only_it(stage: Stage) -> None:
    async with Upstream(refuses) as first, Upstream() as second:
        specs = {
            "a": {"url": first.url, "headers": {"pass": ["x-for-a"]}},
            "e": {"url": second.url, "headers": {"pass": ["traceparent", "x-for-e"]}},
        }
        await stage.serve("a", "e", specs=specs)
        await ask(stage, "ae", {"traceparent": "00-1-2-01", "x-for-a": "1", "x-for-e": "2", "baggage": "b"})
    assert names(first.got[0]) - ALWAYS >= {"x-for-a"}
    assert not names(first.got[0]) & {"traceparent", "x-for-e", "baggage"}
    assert (second.got[0].header("traceparent"), second.got[0].header("x-for-e")) == ("00-1-2-01", "2")
    assert not names(second.got[0]) & {"x-for-a", "baggage"}


@pytest.mark.parametrize("agent", ["client/1", None])
async def test_what_is_set_for_one_provider_is_not_told_to_the_next(stage: Stage, agent: str | None) -> None:
    written = [
        {"name": "user-agent", "value": "ours/100%"},
        {"name": "openai-organization", "value": "org-ours"},
        {"name": "x-team-key", "secretRef": {"name": stage.provider("a"), "key": "k"}},
    ]
    async with Upstream(refuses) as first, Upstream() as second:
        await stage.serve(
            "a", "e", specs={"a": {"url": first.url, "headers": {"set": written}}, "e": {"url": second.url}}
        )
        # aiohttp sends an agent of its own unless it is told another; an empty one is as good as none.
        sent = {"user-agent": agent or "", "openai-organization": "org-client", "x-team-key": "guess"}
        await ask(stage, "ae", sent)
    told = {name: first.got[0].header(name) for name in ("user-agent", "openai-organization", "x-team-key")}
    assert told == {"user-agent": "ours/100%", "openai-organization": "org-ours", "x-team-key": "key-of-a"}
    assert second.got[0].header("user-agent") == agent
    assert not names(second.got[0]) & {"openai-organization", "x-team-key"}


async def test_a_header_given_twice_still_says_both_at_the_second_provider(stage: Stage) -> None:
    async with Upstream(refuses) as first, Upstream() as second:
        await stage.serve(
            "a", "e", specs={"a": {"url": first.url}, "e": {"url": second.url, "headers": {"pass": ["x-twice"]}}}
        )
        body = {
            "model": stage.model,
            "messages": [say("Twice?")],
            "provider": {"order": [stage.provider("a"), stage.provider("e")]},
        }
        async with stage.http.post(
            stage.base_url + "/chat/completions", json=body, headers=[("x-twice", "1"), ("x-twice", "2")]
        ) as response:
            assert response.status == 200
    assert ",".join(value for name, value in second.got[0].headers if name == "x-twice").replace(" ", "") == "1,2"


@pytest.mark.parametrize(
    ("spec", "asked", "sent"),
    [
        ({}, "", ""),
        ({}, "?key=secret&api-version=1", ""),
        ({"query": {"pass": ["api-version"]}}, "?key=secret&api-version=1", "?api-version=1"),
        ({"query": {"pass": ["api-version"]}}, "?api-version=1&api-version=2&x", "?api-version=1&api-version=2"),
        ({"vendor": "AzureOpenAI"}, "?api-version=1", "?api-version=1"),
        ({"url": "?api-version=9"}, "", "?api-version=9"),
        ({"url": "?api-version=9&z=%2F"}, "?api-version=1&z=2", "?api-version=9&z=%2F"),
        ({"url": "?version=9", "query": {"pass": ["ver", "sion"]}}, "?ver=1&sion=2&api=3", "?version=9&ver=1&sion=2"),
        ({"query": {"pass": ["a"]}}, "?a", "?a"),
        ({"query": {"pass": ["a"]}}, "?&&a=?b&", "?a=?b"),
        ({}, "?", ""),
    ],
)
async def test_of_the_query_a_provider_gets_its_own_and_what_is_listed(
    stage: Stage, spec: dict[str, object], asked: str, sent: str
) -> None:
    async with Upstream() as upstream:
        await stage.serve("e", specs={"e": {**spec, "url": upstream.url + str(spec.get("url", ""))}})
        answer = await ask(stage, "e", {}, asked)
    assert answer.status == 200
    assert upstream.got[0].target == "/v1/chat/completions" + sent


async def test_each_provider_gets_its_own_query_over_a_failover(stage: Stage) -> None:
    async with Upstream(refuses) as first, Upstream() as second:
        specs: dict[str, Any] = {
            "a": {"url": first.url + "?of=a"},
            "e": {"url": second.url, "query": {"pass": ["of", "v"]}},
        }
        await stage.serve("a", "e", specs=specs)
        await ask(stage, "ae", {}, "?of=client&v=1")
    assert first.got[0].target == "/v1/chat/completions?of=a"
    assert second.got[0].target == "/v1/chat/completions?of=client&v=1"


async def test_an_ipv6_provider_is_called_by_its_address_in_brackets(stage: Stage) -> None:
    async with Upstream(host="::1") as upstream:
        await stage.serve("e", specs={"e": {"url": upstream.url}})
        assert (await ask(stage, "e", {})).status == 200
    assert upstream.got[0].header("host") == f"[::1]:{upstream.port}"


FOR_CLIENTS = {
    "content-type": "application/json",
    "retry-after": "3",
    "retry-after-ms": "3000",
    "request-id": "r-1",
    "x-request-id": "r-2",
    "x-ratelimit-remaining-requests": "5",
    "anthropic-ratelimit-tokens-remaining": "6",
    "openai-processing-ms": "7",
    "openai-version": "2020-10-01",
    "openai-organization": "ours",
    "cache-control": "no-cache",
    "x-accel-buffering": "no",
    "x-should-retry": "false",
    "anything-else": "kept",
}
OF_THE_VENDORS_HOST = [
    *(
        "set-cookie",
        "set-cookie2",
        "strict-transport-security",
        "public-key-pins",
        "clear-site-data",
        "nel",
        "report-to",
    ),
    *("content-security-policy", "content-security-policy-report-only", "x-frame-options", "permissions-policy"),
    *("access-control-allow-origin", "access-control-allow-credentials", "access-control-expose-headers"),
    *(
        "cross-origin-resource-policy",
        "timing-allow-origin",
        "alt-svc",
        "location",
        "content-location",
        "refresh",
        "link",
    ),
    *("www-authenticate", "proxy-authenticate", "via", "forwarded", "x-forwarded-for", "x-powered-by", "x-served-by"),
    *("cf-ray", "cf-cache-status", "x-amz-cf-id", "x-cache", "x-accel-redirect", "x-sendfile", "surrogate-control"),
    *("x-envoy-upstream-service-time", "x-envoy-ratelimited", "x-envoy-decorator-operation", "x-envoy-overloaded"),
    *("x-limpet-evil", "x-limpet-cluster", "X-Limpet-Decision"),
]


@pytest.mark.parametrize("written", [str.lower, str.title, str.upper])
@pytest.mark.parametrize("status", [200, 400])
async def test_of_an_answers_headers_the_client_gets_what_is_not_bound_to_the_vendors_host(
    stage: Stage, status: int, written: Callable[[str], str]
) -> None:
    ends = [*OF_THE_VENDORS_HOST, "server"]
    sent = [*FOR_CLIENTS.items(), *((written(name), "of-the-vendor") for name in ends)]
    said = completion()

    def answer(_: Got) -> Reply:
        return Reply(status=status, headers=sent, body=said.body)

    async with Upstream(answer) as upstream:
        await stage.serve("e", specs={"e": {"url": upstream.url}})
        got = await ask(stage, "e", {})
    assert got.status == status
    assert {name: got.headers.get(name) for name in FOR_CLIENTS} == FOR_CLIENTS
    assert [name for name, value in got.headers.items() if "vendor" in value] == []
    assert got.headers["x-limpet-decision"] == "bypass.order"
    assert got.headers["x-limpet-provider"] == stage.provider("e")


async def test_an_answer_cannot_switch_off_that_the_next_provider_is_tried(stage: Stage) -> None:
    async with (
        Upstream(lambda _: Reply(status=429, headers={"x-envoy-ratelimited": "true"})) as first,
        Upstream() as second,
    ):
        await stage.serve("a", "e", specs={"a": {"url": first.url}, "e": {"url": second.url}})
        answer = await ask(stage, "ae", {})
    assert (answer.status, answer.headers["x-limpet-provider"]) == (200, stage.provider("e"))
