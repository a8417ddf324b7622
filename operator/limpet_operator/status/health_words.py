"""The words for what is wrong with a provider: by cause the reason, what happens there, and what to do about it."""

from collections.abc import Mapping
from typing import Final, NamedTuple

from limpet_extproc.contract.health_stream import Verdict
from limpet_operator.planning.finding import HealthyReason
from limpet_operator.status.stranded import Stranded

_STATUS_PAGE: Final = "look at the vendor's status page"


class Wording(NamedTuple):
    """Clauses of a message."""

    reason: HealthyReason
    wrong: str
    advice: str


_FAILING: Final = Wording("Failing", "it failed several times in a row", _STATUS_PAGE)
_ERROR_RATE: Final = Wording("ErrorRate", "many more of its requests fail than usual", _STATUS_PAGE)
_OVER_LIMIT: Final = Wording(
    "OverLimit", "it is rate-limiting us", "ask the vendor for a higher limit, or lower spec.weight"
)

_BY_CAUSE: Final[Mapping[str, Wording]] = {
    "CredentialRefused": Wording("CredentialRefused", "it rejects the API key", "correct what spec.credential names"),
    "NoCredit": Wording("NoCredit", "the account has no credit", "pay, or remove the Provider"),
    "Forbidden": Wording(
        "Forbidden", "it does not permit the request", "check what this API key is allowed to do, and from where"
    ),
    "ModelNotFound": Wording(
        "ModelNotFound",
        "it does not know a requested model",
        "correct upstreamName in spec.models",
    ),
    "PathNotFound": Wording(
        "PathNotFound",
        "it does not have an API that it is asked for",
        "correct the path of spec.url, or list in spec.dialects and spec.endpoints only what it has",
    ),
    "Redirected": Wording(
        "Redirected",
        "it answers with a redirect",
        "set spec.url to the address that it redirects to, usually https:// in place of http://",
    ),
    "NameNotResolved": Wording(
        "NameNotResolved", "the host of spec.url does not resolve", "correct it, or check the DNS of the gateways"
    ),
    "TLSFailed": Wording("TLSFailed", "TLS connections to it fail", "check its certificate, and spec.tls"),
    "ConnectionRefused": Wording(
        "ConnectionRefused", "it refuses connections", "check whether it runs, and the host and port of spec.url"
    ),
    "ConnectionFailed": Wording(
        "ConnectionFailed",
        "connections to it fail",
        "check whether the host of spec.url resolves, and whether the gateways reach it (firewalls, NetworkPolicies, "
        "spec.proxy)",
    ),
    "Timeout": Wording(
        "Timeout", "it does not answer in time", f"{_STATUS_PAGE}; if it is always this slow, raise spec.timeouts"
    ),
    "NotAnAnswer": Wording(
        "NotAnAnswer",
        "what it answers is not an answer of a model",
        "check whether spec.url is the base URL of the API",
    ),
    "ErrorInAnswer": Wording("ErrorInAnswer", "its answers contain errors", _STATUS_PAGE),
    "BrokenOff": Wording("Failing", "its answers break off before their end", _STATUS_PAGE),
    "Limited": _OVER_LIMIT,
    "Overloaded": Wording("OverLimit", "it is overloaded", _STATUS_PAGE),
    "ErrorRate": _ERROR_RATE,
    "SlowFirstByte": Wording("SlowFirstByte", "its answers begin much later than usual", _STATUS_PAGE),
    "SlowStream": Wording("SlowStream", "its streams come much more slowly than usual", _STATUS_PAGE),
}


_OF_DEGRADED: Final = frozenset({"SlowFirstByte", "SlowStream", "PathNotFound"})


def wording(verdict: Verdict, cause: str) -> Wording:
    """What is wrong with a provider that is not up."""
    match verdict:
        case "Limited":
            return _BY_CAUSE["Overloaded"] if cause == "Overloaded" else _OVER_LIMIT
        case "Degraded":
            return _BY_CAUSE[cause] if cause in _OF_DEGRADED else _ERROR_RATE
        case _:
            return _BY_CAUSE.get(cause, _FAILING)


def probe_wording(probe: str, cause: str, message: str) -> Wording | None:
    """What is wrong by the probe's own settings, with what to change there; None: by nothing of them."""
    slow = f"{_STATUS_PAGE}; if it is always this slow, raise"
    match cause:
        case "Timeout":
            return Wording("Timeout", "it does not answer the probe in time", f"{slow} timeout of HealthProbe {probe}")
        case "SlowFirstByte":
            wrong = f"its answers are {message}" if message else "its answers to the probe are slow"
            return Wording("SlowFirstByte", wrong, f"{slow} thresholds.degradedAfter of HealthProbe {probe}")
        case "UnusableStatus":
            advice = f"{_STATUS_PAGE}, or correct http.expectedStatuses of HealthProbe {probe}"
            return Wording("Failing", "it answers with a status that the probe does not expect", advice)
    return None


def answered(status: int, message: str) -> str:
    """An answer as messages show it: its status and the provider's own words in quotes, as far as there are any.

    Without a status the words are Envoy's or our own.
    """
    quoted = f'"{message}"' if message and status else message
    return " ".join(part for part in (str(status) if status else "", quoted) if part)


_MOVES: Final[Mapping[Verdict, str]] = {
    "Up": "",
    "Degraded": "its conversations go to another provider that is up",
    "Limited": "other providers take its requests meanwhile",
    "Down": "its conversations go to other providers, and it is tried last",
}


def moves(verdict: Verdict, left: Stranded, *, still_tried: bool) -> str:
    """What becomes of its conversations. `still_tried`: requests go on being sent there, and fail over one by one."""
    if left.all_of_them:
        return f"{left.clause}, so requests are still sent there"
    moving = "requests that fail there go to other providers" if still_tried else _MOVES[verdict]
    return "; ".join(filter(None, (moving, left.clause)))
