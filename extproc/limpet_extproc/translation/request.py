"""A chat request as a request for Anthropic's Messages."""

from typing import Any, Final, NamedTuple, TypeVar

import msgspec
from msgspec import Raw

from limpet_extproc.translation.fields import check_uncarried
from limpet_extproc.translation.models import ModelTraits, traits_of
from limpet_extproc.translation.thinking import LEAST_BUDGET, Thoughts, thoughts
from limpet_extproc.translation.tools import tool_choice, tools, undeclared
from limpet_extproc.translation.turns import MessagesTurns, turns
from limpet_extproc.translation.untranslatable import (
    ABSENT,
    MessagesBlock,
    Untranslatable,
    UntranslatableError,
    decoded,
    given,
    refuse,
)

_T = TypeVar("_T")


class TranslatedRequest(NamedTuple):
    """What the provider gets, and what the answer's translation needs to know."""

    body: bytes
    usage_asked: bool
    """Whether a stream ends with its usage."""


class _StreamOptions(msgspec.Struct, frozen=True, gc=False):
    include_usage: bool | None = None


class _JsonSchema(msgspec.Struct, frozen=True, gc=False):
    schema: Raw = ABSENT


class _Format(msgspec.Struct, frozen=True, gc=False):
    type: str
    json_schema: _JsonSchema | None = None


class _Thinking(msgspec.Struct, frozen=True, gc=False):
    type: str = ""
    budget_tokens: int = 0


_BODY: Final = msgspec.json.Decoder(dict[str, Raw])
_TEXT: Final = msgspec.json.Decoder(str)
_NUMBER: Final = msgspec.json.Decoder(float)
_COUNT: Final = msgspec.json.Decoder(int)
_BOOLEAN: Final = msgspec.json.Decoder(bool)
_STOP: Final[msgspec.json.Decoder[str | list[str]]] = msgspec.json.Decoder(str | list[str])
_FORMAT: Final = msgspec.json.Decoder(_Format)
_STREAM_OPTIONS: Final = msgspec.json.Decoder(_StreamOptions)
_THINKING: Final[msgspec.json.Decoder[_Thinking | None]] = msgspec.json.Decoder(_Thinking | None)
_THINKING_TYPES: Final = ("enabled", "disabled", "adaptive")

_TIERS: Final = {"auto": "auto", "default": "standard_only", "priority": "auto"}
_MOST_TOKENS: Final = 1_000_000
"""More than any model can answer."""
_MAX_USER: Final = 256
"""Characters that `metadata.user_id` may have."""

_JSON_ONLY: Final = "Answer with one JSON object and nothing else: no text around it, no code fence."

_TAKEN: Final = frozenset(
    {
        *("model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "stop", "stream"),
        *("tools", "tool_choice", "parallel_tool_calls", "response_format", "reasoning_effort", "service_tier"),
        *("user", "safety_identifier", "stream_options"),
        # Anthropic's own, for clients that know where they end up.
        *("cache_control", "thinking", "top_k"),
    }
)


def untranslatable(body: bytes) -> Untranslatable | None:
    """What of a chat request cannot be carried over; None if all can."""
    try:
        translated(body)
    except UntranslatableError as error:
        return error.found
    return None


def translated(body: bytes, *, user_id: bool = True) -> TranslatedRequest:
    """The request for the provider. `user_id`: `metadata` names the user there. Raises UntranslatableError."""
    return _Translation(decoded(_BODY, body, "messages"), user_id).result()


class _Translation:
    """One request; each method adds to what the provider gets."""

    def __init__(self, fields: dict[str, Raw], user_id: bool) -> None:
        self._fields = {name: raw for name, raw in fields.items() if given(raw)}
        self._user_id = user_id
        self._model = self._get("model", _TEXT, "")

    def result(self) -> TranslatedRequest:
        for name, raw in self._fields.items():
            if name not in _TAKEN:
                check_uncarried(name, raw)
        conversation = turns(self._raw("messages"))
        traits = traits_of(self._model)
        own_thinking = self._own_thinking()
        written: dict[str, Any] = {"model": self._model, "max_tokens": self._limit(traits, own_thinking)}
        declared = tools(self._raw("tools"))
        choice = tool_choice(self._raw("tool_choice"), self._raw("parallel_tool_calls"), declared)
        if not declared and conversation.called:
            declared, choice = undeclared(conversation.called), {"type": "none"}
        thoughts_ = self._thoughts(traits, written["max_tokens"], choice, conversation, own_thinking)
        written |= {
            "tools": declared,
            "tool_choice": choice,
            "system": [*conversation.system, *self._json_only()],
            "messages": conversation.messages,
            "thinking": self._fields.get("thinking") or thoughts_.thinking,
            "output_config": self._output_config(thoughts_),
            "stop_sequences": self._stop(),
            "metadata": self._user(),
            "service_tier": self._tier(),
            "cache_control": self._fields.get("cache_control"),
            "stream": self._get("stream", _BOOLEAN, False),
        }
        written = {name: value for name, value in written.items() if value} | self._sampling(traits, thoughts_)
        options = self._get("stream_options", _STREAM_OPTIONS, _StreamOptions())
        return TranslatedRequest(msgspec.json.encode(written), options.include_usage is True)

    def _raw(self, name: str) -> Raw:
        return self._fields.get(name, ABSENT)

    def _get(self, name: str, decoder: msgspec.json.Decoder[_T], default: _T) -> _T:
        raw = self._fields.get(name)
        return default if raw is None else decoded(decoder, raw, name)

    def _limit(self, traits: ModelTraits, own_thinking: _Thinking | None) -> int:
        budget = 0 if own_thinking is None else own_thinking.budget_tokens
        for name in ("max_completion_tokens", "max_tokens"):
            if name in self._fields:
                limit = self._get(name, _COUNT, 0)
                # Anthropic takes 0, and only fills its cache then; nobody who speaks chat completions means that.
                if limit < 1:
                    refuse(name, "the least is 1")
                if limit > _MOST_TOKENS:
                    refuse(name, "no model gives so many")
                if limit <= budget:
                    refuse("thinking.budget_tokens", f"it has to be less than {name}")
                return limit
        return max(traits.default_tokens, budget + traits.default_tokens // 2)

    def _own_thinking(self) -> _Thinking | None:
        """Of the request's field `thinking`."""
        found = self._get("thinking", _THINKING, None)
        if found is not None and found.type not in _THINKING_TYPES:
            refuse("thinking.type", f"write one of {', '.join(_THINKING_TYPES)}")
        if found is not None and found.type == "enabled" and not LEAST_BUDGET <= found.budget_tokens <= _MOST_TOKENS:
            refuse("thinking.budget_tokens", f"write a number from {LEAST_BUDGET} to {_MOST_TOKENS}")
        return found

    def _thoughts(
        self,
        traits: ModelTraits,
        max_tokens: int,
        choice: MessagesBlock | None,
        conversation: MessagesTurns,
        own_thinking: _Thinking | None,
    ) -> Thoughts:
        if own_thinking is not None:
            return Thoughts({"type": own_thinking.type})
        if "reasoning_effort" not in self._fields:
            return Thoughts()
        effort = self._get("reasoning_effort", _TEXT, "")
        forced = choice is not None and choice["type"] in ("any", "tool")
        unsigned = conversation.unsigned_call or conversation.prefilled
        return thoughts(effort, traits, max_tokens, forced=forced, unsigned_call=unsigned)

    def _sampling(self, traits: ModelTraits, thoughts_: Thoughts) -> MessagesBlock:
        """None for a model that thinks, nor for those since Opus 4.7: they refuse it."""
        for name in ("temperature", "top_p"):
            if self._get(name, _NUMBER, 0.0) > 1:
                refuse(name, "the highest that Anthropic takes is 1")
            if self._get(name, _NUMBER, 0.0) < 0:
                refuse(name, "the least is 0")
        if self._get("top_k", _COUNT, 0) < 0:
            refuse("top_k", "the least is 0")
        if not traits.sampling or thoughts_.on:
            return {}
        found: MessagesBlock = {
            name: self._fields[name] for name in ("temperature", "top_p", "top_k") if name in self._fields
        }
        if "temperature" in found and not traits.both_sampling:
            found.pop("top_p", None)
        return found

    def _stop(self) -> list[str]:
        found = self._get("stop", _STOP, [])
        sequences = [found] if isinstance(found, str) else found
        if any(not each.strip() for each in sequences):
            refuse("stop", "Anthropic takes no sequence that is only white space")
        return sequences

    def _user(self) -> MessagesBlock | None:
        user = self._get("safety_identifier", _TEXT, "") or self._get("user", _TEXT, "")
        if not user or len(user) > _MAX_USER or not self._user_id:
            return None
        return {"user_id": user}

    def _tier(self) -> str | None:
        if "service_tier" not in self._fields:
            return None
        tier = self._get("service_tier", _TEXT, "")
        if tier not in _TIERS:
            refuse("service_tier", f"Anthropic has no such tier; write one of {', '.join(_TIERS)}")
        return _TIERS[tier]

    def _format(self) -> _Format:
        found = self._get("response_format", _FORMAT, _Format("text"))
        if found.type not in ("text", "json_object", "json_schema"):
            refuse("response_format.type", "write text, json_object or json_schema")
        if found.type == "json_schema" and (found.json_schema is None or not given(found.json_schema.schema)):
            refuse("response_format.json_schema.schema", "it is missing")
        return found

    def _json_only(self) -> list[MessagesBlock]:
        return [{"type": "text", "text": _JSON_ONLY}] if self._format().type == "json_object" else []

    def _output_config(self, thoughts_: Thoughts) -> MessagesBlock:
        config: MessagesBlock = {"effort": thoughts_.effort} if thoughts_.effort else {}
        found = self._format()
        if found.type == "json_schema" and found.json_schema is not None:
            config["format"] = {"type": "json_schema", "schema": found.json_schema.schema}
        return config
