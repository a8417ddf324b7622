"""The request by which a HealthProbe asks one provider. Pure."""

import json
from typing import Any, Final

from limpet_extproc.contract.apis import CONVERSATIONS, DialectName
from limpet_extproc.contract.health_stream import ProbeRequest
from limpet_operator.planning.probe_targets import ProbeTarget
from limpet_operator.resources.healthprobe import CompletionCheck, HealthProbe
from limpet_operator.resources.provider import Provider

_PATHS: Final = {dialect: path for path, dialect in CONVERSATIONS.items()}
_DIALECTS: Final[tuple[DialectName, ...]] = ("OpenAIChat", "AnthropicMessages", "OpenAIResponses")
"""The first that a provider speaks is used."""
_LEAST_OUTPUT: Final = 16
"""The smallest `max_output_tokens` that Responses take (OpenAI API reference, 2026)."""


def asked_for(probe: HealthProbe, provider: Provider) -> str:
    """Method and path as the provider gets them."""
    if isinstance(probe.check, CompletionCheck):
        return f"POST {_completions(_dialect(provider), provider)}"
    return f"GET {provider.url.path_prefix}{probe.check.path}"


def probe_request(probe: HealthProbe, target: ProbeTarget, provider: Provider) -> ProbeRequest:
    """What to send; whoever sends it gives it its number. The credential is Envoy's to add."""
    check = probe.check
    if not isinstance(check, CompletionCheck):
        path = f"{provider.url.path_prefix}{check.path}"
        return ProbeRequest(0, target.provider, "GET", path, timeout_s=probe.timeout_s)
    dialect = _dialect(provider)
    body = _body(dialect, target.upstream_model, check.max_tokens, provider.answer_limit)
    path = _completions(dialect, provider)
    return ProbeRequest(0, target.provider, "POST", path, json.dumps(body), probe.timeout_s)


def _dialect(provider: Provider) -> DialectName:
    return next(dialect for dialect in _DIALECTS if dialect in provider.dialects)


def _completions(dialect: DialectName, provider: Provider) -> str:
    return f"{provider.prefix_of(dialect)}{_PATHS[dialect]}"


def _body(dialect: DialectName, model: str, max_tokens: int, answer_limit: str) -> dict[str, Any]:
    if dialect == "OpenAIResponses":
        return {"model": model, "input": "ping", "max_output_tokens": max(max_tokens, _LEAST_OUTPUT), "store": False}
    limit = answer_limit if dialect == "OpenAIChat" else "max_tokens"
    return {"model": model, "messages": [{"role": "user", "content": "ping"}], limit: max_tokens}
