"""The request by which a HealthProbe asks one provider. Pure."""

import json
from typing import Final

from limpet_extproc.contract.health_stream import ProbeRequest
from limpet_operator.planning.probe_targets import ProbeTarget
from limpet_operator.resources.healthprobe import CompletionCheck, HealthProbe
from limpet_operator.resources.provider import Provider

_COMPLETIONS: Final = "/chat/completions"
"""Where OpenAIChat is spoken, the one dialect that `planning.probe_targets.speaks` lets through."""


def asked_for(probe: HealthProbe, provider: Provider) -> str:
    """Method and path as the provider gets them."""
    check, prefix = probe.check, provider.url.path_prefix
    return f"POST {prefix}{_COMPLETIONS}" if isinstance(check, CompletionCheck) else f"GET {prefix}{check.path}"


def probe_request(probe: HealthProbe, target: ProbeTarget, provider: Provider) -> ProbeRequest:
    """What to send; whoever sends it gives it its number. The credential is Envoy's to add."""
    check = probe.check
    if not isinstance(check, CompletionCheck):
        return ProbeRequest(0, target.provider, "GET", check.path, timeout_s=probe.timeout_s)
    body = {
        "model": target.upstream_model,
        "messages": [{"role": "user", "content": "ping"}],
        provider.answer_limit: check.max_tokens,
    }
    return ProbeRequest(0, target.provider, "POST", _COMPLETIONS, json.dumps(body), probe.timeout_s)
