"""The names that travel inside Envoy, which one plane writes and the other reads.

Envoy's Lua gets every string of this module, and every reason, as a local constant of the same name.
"""

from typing import Final

# Dynamic metadata: where a request goes.

ROUTE_METADATA: Final = "limpet.route"
ROUTE_KEY: Final = "route"
"""Which of Envoy's routes the request takes (`route_key`)."""
ROUTE_GROUPS: Final = "priority_groups"
"""The providers in their order, in the words of Envoy's specifier of that name."""
ROUTE_TRIES: Final = "tries"
"""How often each is tried that ends the connection without an answer."""

# Dynamic metadata: why it goes there, and what each attempt changes of the body.

DECISION_METADATA: Final = "limpet.decision"
DECISION_REASON: Final = "reason"
DECISION_WHY: Final = "why"
"""What is wrong with the providers, for an error's text."""
DECISION_MODEL: Final = "model"
DECISION_EDITS: Final = "edits"
"""By provider, and under "" for all others: what to replace in the body, in its order, as lists of offset, length and
new text. The text `true` stands for the provider's name of the model; nothing is replaced where it has no other."""
DECISION_CLIENT: Final = "client"
"""True: the client's key was checked by the worker that decided; absent where keys are not looked at."""
DECISION_API: Final = "api"
"""The `apis.Api.name` of the request; absent: OpenAIChat."""
DECISION_HIDE_USAGE: Final = "hide_usage"
"""True: the client did not ask for the usage that its stream will carry."""
DECISION_AFFINITY: Final = "affinity"
"""By provider that takes one in a header: its name of the conversation."""
DECISION_WAIT_MS: Final = "patience_ms"
"""How long the first provider may take for a whole answer; absent where that need not be known."""
DECISION_CACHE: Final = "cache"
"""What the conversation's last turn read from a cache, in the word for why; absent unless the policy shows it."""
DECISION_COST: Final = "cost"
"""By provider whose price is known, where the policy shows it: a list of the expected dollars, and of six numbers for
each length of the prompt (`request.shown_costs.LengthRates`)."""
DECISION_TELLS_EARLY: Final = "tells_early"
"""True: the request has a log entry as soon as its answer has begun, as others may wait for that."""
DECISION_EXPLANATION: Final = "explanation"
"""Why it goes there, as JSON; absent unless its client asked for that and may."""
DECISION_SAVE_CACHE_S: Final = "save_cache_s"
"""How long the first provider may ask to be waited for, to be tried once more; absent where it is left at once."""

# Dynamic metadata: the decision record.

RECORD_METADATA: Final = "limpet.record"
RECORD_TEXT: Final = "v"

# Dynamic metadata: what became of the attempts, each bad one under its number.

TRAIL_METADATA: Final = "limpet.trail"
TRAIL_PROVIDER: Final = "provider"
TRAIL_STATUS: Final = "status"
TRAIL_OUTCOME: Final = "verdict"
TRAIL_CAUSE: Final = "cause"
TRAIL_MESSAGE: Final = "says"
"""The provider's own."""
TRAIL_RETRY_AFTER: Final = "retry_after"
TRAIL_TIMEOUT: Final = "timeout"
"""True: the last attempt was not made, as the one before had taken all the time."""
TRAIL_BEGAN_MS: Final = "began_ms"
"""When the present attempt began, from the request's beginning; absent for the first one, as the next is."""
TRAIL_ALL_BEGAN_MS: Final = "all_began_ms"
"""The same of each attempt after the first, as numbers with a space after each."""
TRAIL_MAY_TAKE_MS: Final = "may_take_ms"
"""How long its provider may take for a whole answer."""
TRAIL_WAITED: Final = "waited"
"""The attempt whose provider was limited and waited for, to be tried once more; that happens once a request."""
TRAIL_TRIED: Final = "tried"
"""What came of each provider before the present attempt: `alpha 401, beta 429, `."""
TRAIL_BEST_STATUS: Final = "best_status"
"""The most telling answer so far, for the client if all fail: its status, and the next two its body around the words
about who was tried. Absent if none says more than that there was no answer."""
TRAIL_BEST_HEAD: Final = "best_head"
TRAIL_BEST_TAIL: Final = "best_tail"
TRAIL_AWAITED: Final = "awaited"
"""The number of an attempt and the status of the error whose text it waits for."""
TRAIL_LEAST_WAIT_S: Final = "least_wait_s"
"""The shortest time that a limited provider asked for, as text."""
TRAIL_FIRST_TOKEN_MS: Final = "first_token_ms"  # noqa: S105 (of a model's answer)
"""From the head of a streamed answer to its first event with part of the completion; absent if that came at once."""

# Dynamic metadata: the token usage of the answer. What it did not report is absent.

USAGE_METADATA: Final = "limpet.usage"
USAGE_TOKENS: Final = "v"
USAGE_PROMPT: Final = "prompt"
USAGE_OUTPUT: Final = "output"
USAGE_CACHED: Final = "cached"
USAGE_WRITTEN: Final = "written"
"""All that was written to the cache, for whatever lifetime; of it the next, for an hour or longer."""
USAGE_WRITTEN_LONG: Final = "written_long"
USAGE_REASONING: Final = "reasoning"
"""Of the output."""

# Dynamic metadata: what an answer made that lives in the provider's account.

OBJECT_METADATA: Final = "limpet.object"
OBJECT_ID: Final = "id"
OBJECT_IDS: Final = "ids"
"""A list: of what was made with it, such as a batch's output, and the items of a response."""
OBJECT_BACKGROUND: Final = "background"
"""True: it is a response that goes on without its client."""

# Dynamic metadata: the translation of the present attempt.

TRANSLATION_METADATA: Final = "limpet.translation"
TRANSLATION_STATE: Final = "state"
"""`TRANSLATED` once its request is; the Lua that prepares an attempt empties it."""
TRANSLATED: Final = "done"
TOO_LARGE: Final = "too_large"
"""The state of a request that would be too large, and was not translated."""
TRANSLATION_USAGE: Final = "usage_asked"
"""True: its stream ends with the usage."""

# Filter state.

HEAD_STATE: Final = "limpet.head"
"""What ext_proc gets of a request's headers: a line for each, `name value`, the value empty where it is absent.

One string, because each attribute of its own costs a request more than reading all of these.
"""

HEAD_ATTRIBUTE: Final = f"filter_state['{HEAD_STATE}']"
"""The same as Envoy names it among the attributes of a message."""

HEAD_ROUTE: Final = ":route"
"""One more line of it: the names of the providers that the request's route has a group of, with spaces between.

The order of providers needs no more than the name of such a group; any other has to be described.
"""

PATH_STATE: Final = "limpet.path"
"""As the client sent it, for each attempt; so are the next two."""
LENGTH_STATE: Final = "limpet.length"
HEADERS_STATE: Final = "limpet.kept"
"""Headers that not every attempt sends alike: a line for each, `name value`."""

PROBE_STATE: Final = "limpet.probe"
"""Of a probe, in place of all these: its path as the provider gets it. Its answer is passed on as it comes."""

# Headers.

OWN_HEADERS: Final = "x-limpet-"
"""How the names of all of ours begin; neither a client nor a vendor may set one."""

DECISION_HEADER: Final = "x-limpet-decision"
"""On a response: the reason. Envoy's access log carries it, as some reasons are Envoy's own."""
PROVIDER_HEADER: Final = "x-limpet-provider"
"""On a response: the provider that answered, or was tried last."""
ATTEMPTS_HEADER: Final = "x-limpet-attempts"
"""On a response: how many attempts it took."""
CACHE_HEADER: Final = "x-limpet-cache"
"""On a response, where the policy shows it: why the conversation's last turn read from a cache what it read."""
COST_HEADER: Final = "x-limpet-cost"
"""On a response, where the policy shows it: what it cost in dollars, or is expected to."""
EXPLAIN_HEADER: Final = "x-limpet-explain"
"""On a response to a client that asked for it: `contract.explanation`."""
DEBUG_HEADER: Final = "x-limpet-debug"
"""On a client's request: that it wants to know why (`contract.explanation`), the one header of ours that counts."""
EXPLAIN_ALONE: Final = "explain-only"
"""Its value by which nothing is sent to a provider, and the explanation is the answer."""
EXPLAIN_BESIDE: Final = "explain"
"""The one by which the request is served, with its explanation in a header of the response."""
DEBUG_KEPT: Final = "limpet-debug"
"""The same inside of Envoy, where all that begins as ours do has been removed. No provider gets it."""
WORKLOAD_KEPT: Final = "limpet-workload"
"""On a request inside of Envoy, where the workload is the tenant: the address of the connection that it came by, and
the `x-forwarded-client-cert` that came with it. No provider gets it."""
TRIED_HEADER: Final = "x-limpet-tried"
"""On an error: what came of each provider that was tried, such as `alpha 401, beta no connection`."""
ATTEMPT_HEADER: Final = "x-limpet-attempt"
"""On an attempt's answer, for the Lua that judges it: the attempt's number, and the words that hold of its provider.

In the filter context, which Envoy copies whenever a program asks for it, they would cost every good answer."""
KEEPS_MODEL: Final = "keeps_model"
"""Answers have the provider's own name of the model."""
TRANSLATED_CHAT: Final = "translated_chat"
"""Chat completions are translated for it."""
RETRY_HEADER: Final = "x-envoy-is-timeout-retry"
"""On each attempt but the first, by Envoy: whether the one before ended by a limit of the route. The cluster adds
milliseconds from the request's beginning, and of its arrival, for the Lua that prepares the attempt."""
ELAPSED_HEADER: Final = "x-limpet-elapsed"
"""The same two numbers from clusters of the version before, on every attempt."""
CONTEXT_HEADER: Final = "x-limpet-context"
"""On an attempt, for the same Lua: by what its provider's filter context is known, of which it keeps a copy."""
WAIT_HEADER: Final = "x-limpet-wait"
"""On an attempt's answer, for Envoy: seconds to wait before the next attempt."""
CLUSTER_HEADER: Final = "x-limpet-cluster"
"""On a request, in header mode, and on a probe: the provider that it goes to. On the answer, at an Envoy whose clusters
have other names than `CLUSTER_NAMES` says: the same, for its access log."""
TRANSLATE_HEADER: Final = "x-limpet-translate"
"""On an attempt's answer, for the filter that has it translated, and takes the header away."""
NO_ANSWER_HEADER: Final = "x-limpet-no-answer"
"""On what Envoy itself says to a probe: the body is not the provider's."""

ONE_MESSAGE: Final = ("x-limpet-messages", "one")
"""gRPC metadata by which an Envoy announces one message a request, so that the answer may end the call."""

CLUSTER_NAMES: Final = "x-limpet-cluster-names"
"""The name of gRPC metadata, in header mode: what the clusters of providers are called at an Envoy that is not ours, as
`envoy.cluster_names` reads it. An access log with the same metadata is of such an Envoy."""

PLAIN_NAMES: Final = "{namespace}/{name}"
"""The template that holds for an Envoy whose calls cannot carry one, such as Envoy Gateway's. It has no filters of ours
in its clusters either, so nothing reads its answers."""

NO_USER_ID: Final = ("x-limpet-user-id", "none")
"""gRPC metadata: a request is translated for a provider whose prompt cache `metadata.user_id` would divide."""

BODY_LIMIT: Final = "x-limpet-body-limit"
"""The name of gRPC metadata: bytes that a translated request may have."""

SESSION_HEADERS: Final = (
    "x-claude-code-session-id",
    "x-opencode-session",
    "x-session-affinity",
    "x-session-id",
    "x-deepseek-harness-session-id",
    "x-grok-conv-id",
)
"""Headers in which agents and SDKs name a session, first match wins; from the clients' sources and documents, 2026."""

AGENT_HEADERS: Final = {"x-claude-code-session-id": "x-claude-code-agent-id"}
"""Headers that tell the subagents of a session apart, by the one that names the session."""

CODEX_SESSION_HEADERS: Final = ("thread-id", "session-id", "session_id")
"""Trusted only from a user agent that names Codex: bare names that other software may use for other things. A subagent
has a thread of its own."""

TRACE_HEADER: Final = "traceparent"
"""In which a client names its trace (W3C Trace Context)."""

READ_HEADERS: Final = (
    ":path",
    ":method",
    "authorization",
    "x-api-key",
    "api-key",
    "x-goog-api-key",
    "content-encoding",
    "content-type",
    "anthropic-version",
    "user-agent",
    TRACE_HEADER,
    *SESSION_HEADERS,
    *AGENT_HEADERS.values(),
    *CODEX_SESSION_HEADERS,
    DEBUG_KEPT,
)
"""What ext_proc gets of a request's headers, besides those that a policy names."""

# Filters, access log and sockets.

TRANSLATING_FILTER: Final = "limpet.translate"
"""The filters that have a worker translate: requests in a cluster (`.request` follows), answers in the listener
(`.answer`)."""

UNTRANSLATED_PATH: Final = "/limpet-untranslated"
"""Before the path of a request that is still to be translated. No provider has it, so that it does no work for one that
was not."""

REQUEST_LOG: Final = "limpet.request"
"""The access log that ext_proc learns from: one entry a request, with all its attempts."""

DETAILS_PREFIX: Final = "limpet_"
"""Begins the response code details of what ext_proc itself answered; the reason follows."""

UNREADABLE_ANSWER: Final = "unreadable_answer"
"""The same of what the translator says in place of an answer that it cannot read."""

PROBE_SOCKET: Final = "probe.sock"
"""The file name of the Unix socket, beside those of the workers, on which Envoy takes probes."""

TRIES: Final = 2
"""How often a provider is tried that ends the connection without an answer, before the next one is.

Servers close idle connections as they are used again, and then no program has read the request.
"""


def route_key(attempts: int, stream: bool, wait_level: int) -> str:
    """Which of Envoy's routes makes so many attempts and waits so long for each."""
    return f"{attempts}{'s' if stream else 'w'}{wait_level}"


def extproc_socket(number: int) -> str:
    """The file name of the Unix socket on which a worker takes Envoy's calls."""
    return f"extproc-{number}.sock"


def translator_socket(number: int) -> str:
    """The file name of the Unix socket on which a worker translates."""
    return f"translate-{number}.sock"
