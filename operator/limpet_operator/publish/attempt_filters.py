"""The filters that every attempt passes in its provider's cluster.

All clusters have the same ones, and each of them sets or removes everything it is responsible for, because attempt 2
gets the headers as attempt 1 left them: a partial chain would send one vendor's key to another.
"""

import hashlib
import json
from typing import Final

from limpet_extproc.contract.apis import CONVERSATIONS
from limpet_extproc.contract.envoy import (
    ATTEMPT_HEADER,
    CONTEXT_HEADER,
    KEEPS_MODEL,
    PROVIDER_HEADER,
    RETRY_HEADER,
    TRANSLATED_CHAT,
)
from limpet_operator.planning.plan import PlannedProvider
from limpet_operator.publish.encode import Json, set_header, typed, typed_struct
from limpet_operator.publish.envoy_settings import EnvoySettings
from limpet_operator.publish.error_rules import lua_rules
from limpet_operator.publish.headers import CREDENTIAL_HEADERS, lua_lists, passed_to, vendor_headers_early
from limpet_operator.publish.lua import program, without_comments
from limpet_operator.publish.secret import header_secret_name, secret_name
from limpet_operator.publish.translation import request_translation
from limpet_operator.publish.usage_fields import lua_usage_fields
from limpet_operator.resources.provider import Provider, SecretKeyRef

ATTEMPT_PROGRAM: Final = (
    "interpreted.lua",
    "keys.lua",
    "asked.lua",
    "error_shape.lua",
    "error_text.lua",
    "causes.lua",
    "retry_after.lua",
    "tried.lua",
    "attempts.lua",
    "completion.lua",
    "json.lua",
    "usage.lua",
    "usage_shapes.lua",
    "made.lua",
    "rewrite.lua",
    "passing.lua",
    "cost.lua",
    "answer.lua",
    "upstream.lua",
)
"""The files of the Lua of every attempt, in their order."""
ATTEMPT_LUA: Final = lua_rules() + lua_lists() + lua_usage_fields() + program(*ATTEMPT_PROGRAM)

ATTEMPT_FILTER: Final = "limpet.attempt"
"""What the filter of this program is called: it finds its program by this name in the routes.

In every cluster Envoy would keep and compile it once for each provider: half a megabyte and some 60 ms of each.
"""
_WITHOUT_PROGRAM: Final = """\
function envoy_on_request(handle)
  handle:respond({ [":status"] = "503", ["content-type"] = "application/json" },
    '{"error":{"message":"This Envoy has not been told how to ask providers; try again.","type":"server_error",' ..
    '"param":null,"code":"no_provider_available"}}')
end
"""
"""For requests whose route has no program: with none at all they would go to the provider as they are."""

_STRIPPED: Final = [{"remove": header} for header in CREDENTIAL_HEADERS]
_CODEC: Final = {
    "name": "envoy.filters.http.upstream_codec",
    "typed_config": typed("filters.http.upstream_codec.v3.UpstreamCodec"),
}
_ANTHROPIC_VERSION: Final = "2023-06-01"
"""The one that all of Anthropic's API asks for, as of 2026."""


_BY_ADS: Final[Json] = {"ads": {}, "resource_api_version": "V3"}


def attempt_filters(provider: PlannedProvider, settings: EnvoySettings) -> list[Json]:
    """In the order in which a request passes them; its answer passes them the other way round."""
    return [
        *_filters(provider, _BY_ADS),
        *request_translation(provider.spec, settings.body_limit_bytes),
        _CODEC,
    ]


def attempt_filters_of_sidecars(provider: PlannedProvider, credentials: Json) -> list[Json]:
    """The same for an Envoy that is not ours, has no translator, and gets the secrets from this config source."""
    return [*_filters(provider, credentials), _CODEC]


def attempt_program() -> Json:
    """What routes to providers have as `typed_per_filter_config`; a provider's own settings are in its cluster."""
    source = {"inline_string": without_comments(ATTEMPT_LUA)}
    return {ATTEMPT_FILTER: typed("filters.http.lua.v3.LuaPerRoute", source_code=source)}


def _filters(provider: PlannedProvider, credentials: Json) -> list[Json]:
    return [
        _strip_and_name(provider),
        *_secrets(provider, credentials),
        _rewrite(provider),
        _which_attempt(provider.spec),
    ]


def _strip_and_name(provider: PlannedProvider) -> Json:
    """Removes every key and sets the provider's own headers; on the answer, sets the provider's name.

    The keys are removed here too, although the Lua lets only listed headers pass: it must not depend on that.
    """
    texts = {header.name: header.value for header in provider.spec.headers.set}
    return {
        "name": "limpet.strip_and_name",
        "typed_config": typed(
            "filters.http.header_mutation.v3.HeaderMutation",
            mutations={
                "request_mutations": [
                    *_STRIPPED,
                    *(
                        {"append": set_header(name, value.replace("%", "%%"))}
                        for name, value in texts.items()
                        if not isinstance(value, SecretKeyRef)
                    ),
                    *_version(provider),
                    _when_retried(),
                    {"append": set_header(CONTEXT_HEADER, _digest(_context(provider)))},
                ],
                "response_mutations": [{"append": set_header(PROVIDER_HEADER, provider.name)}],
            },
        ),
    }


def _when_retried() -> Json:
    """Says when it is, to attempts that are retries: the others have no such header, and no use for it."""
    header = {"key": RETRY_HEADER, "value": f"%REQ({RETRY_HEADER})% %DURATION% %REQUEST_DURATION%"}
    return {"append": {"header": header, "append_action": "OVERWRITE_IF_EXISTS"}}


def _version(provider: PlannedProvider) -> list[Json]:
    """For probes and translated requests, whose senders do not know the API; its own clients always send a version."""
    if not provider.spec.translated:
        return []
    header = {"key": "anthropic-version", "value": _ANTHROPIC_VERSION}
    return [{"append": {"header": header, "append_action": "ADD_IF_ABSENT"}}]


def _secrets(provider: PlannedProvider, source: Json) -> list[Json]:
    """The credential, if the provider needs one, and each header whose value comes from a Secret."""
    credential = provider.spec.credential
    return [
        *([] if credential is None else [_injected(credential.header, secret_name(provider), source)]),
        *(
            _injected(header.name, header_secret_name(provider, header.name), source)
            for header, _ in provider.spec.headers.secret
        ),
    ]


def _injected(header: str, secret: str, source: Json) -> Json:
    return {
        "name": "envoy.filters.http.credential_injector",
        "typed_config": typed(
            "filters.http.credential_injector.v3.CredentialInjector",
            overwrite=True,
            credential={
                "name": "envoy.http.injected_credentials.generic",
                "typed_config": typed(
                    "http.injected_credentials.generic.v3.Generic",
                    credential={"name": secret, "sds_config": source},
                    header=header,
                ),
            },
        ),
    }


def _rewrite(provider: PlannedProvider) -> Json:
    return {
        "name": ATTEMPT_FILTER,
        "typed_config": typed_struct(
            "filters.http.lua.v3.Lua",
            shared_vm_id="limpet-without",
            default_source_code={"inline_string": _WITHOUT_PROGRAM},
            filter_context=_context(provider),
        ),
    }


def _context(provider: PlannedProvider) -> Json:
    """What the program is told of its provider."""
    spec = provider.spec
    own = [header.name for header in spec.headers.set] + ([spec.credential.header] if spec.credential else [])
    renames = {
        f"model:{model.name}": json.dumps(model.upstream_name)
        for model in spec.models
        if model.upstream_name != model.name
    }
    return {
        "host": spec.url.authority,
        "prefix": spec.url.path_prefix,
        **{f"prefix:{dialect}": path for dialect, path in spec.paths.items()},
        **{f"path:{path}": there for path, there in _translated_paths(spec).items()},
        **({"affinity_header": spec.affinity_header} if spec.affinity_header else {}),
        **({"query": spec.url.query} if spec.url.query else {}),
        "name": provider.name,
        "vendor": spec.vendor,
        "may_take_ms": str(round(spec.timeouts.unstreamed_s * 1000)),
        **renames,
        **{f"passes:{name}": True for name in passed_to(provider)},
        **{f"own:{name}": True for name in own},
        **{f"query:{name}": True for name in spec.passed_query},
    }


def _digest(context: Json) -> str:
    return hashlib.blake2b(json.dumps(context, sort_keys=True).encode(), digest_size=16).hexdigest()


def _translated_paths(spec: Provider) -> dict[str, str]:
    """Where requests go there that are translated."""
    messages = f"{spec.prefix_of('AnthropicMessages')}/messages"
    return {path: messages for path, dialect in CONVERSATIONS.items() if dialect in spec.translated}


def _which_attempt(spec: Provider) -> Json:
    """For the Lua, which sees an answer after it: headers of a vendor that Envoy would obey are gone by then.

    With the provider's own keys, which it blanks in an error; the Lua takes all of this out, and so does the route.
    """
    words = {KEEPS_MODEL: spec.response_model == "Upstream", TRANSLATED_CHAT: "OpenAIChat" in spec.translated}
    value = " ".join(
        ["%UPSTREAM_REQUEST_ATTEMPT_COUNT%", "%REQ(:METHOD)%", *(word for word, holds in words.items() if holds)]
    )
    keys = [
        *([] if spec.credential is None else [spec.credential.header]),
        *(each.name for each, _ in spec.headers.secret),
    ]
    value += "".join(f"|%REQ({name})%" for name in keys)
    mutations = {"response_mutations": [*vendor_headers_early(), {"append": set_header(ATTEMPT_HEADER, value)}]}
    return {
        "name": "limpet.which_attempt",
        "typed_config": typed("filters.http.header_mutation.v3.HeaderMutation", mutations=mutations),
    }
