"""Which provider and model of an open price list are meant by a Provider and its models."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from limpet_operator.pricelists.listed import ListedModel, OpenList
from limpet_operator.resources.problem import did_you_mean
from limpet_operator.resources.provider import Provider

_OF_VENDOR: Final[Mapping[str, Sequence[str]]] = {
    "OpenAI": ("openai",),
    "AzureOpenAI": ("azure",),
    "Anthropic": ("anthropic",),
    "DeepSeek": ("deepseek",),
    "GoogleAIStudio": ("google", "gemini"),
    "VertexAI": ("google-vertex", "google-vertex-anthropic", "vertex_ai", "vertex_ai-*"),
    "XAI": ("xai",),
    "Moonshot": ("moonshotai", "moonshot"),
    "Baseten": ("baseten",),
    "Fireworks": ("fireworks-ai", "fireworks_ai"),
    "Together": ("togetherai", "together_ai"),
    "Groq": ("groq",),
    "Mistral": ("mistral",),
    "Alibaba": ("alibaba", "dashscope"),
    "ZAI": ("zai",),
    "MiniMax": ("minimax",),
    "OpenRouter": ("openrouter",),
}
"""By vendor, what the lists call it. LiteLLM adds kinds of models to one, as in vertex_ai-anthropic_models.

Nothing else is taken by its beginning: models.dev's alibaba-cn and zai-coding-plan sell the same models, but at prices
of their own.
"""


@dataclass(frozen=True, slots=True)
class MatchedModel:
    """A model of ours and what the list says of it; None: nothing, with the reason."""

    name: str
    listed_as: tuple[str, str]
    """Provider and model of the list."""
    listed: ListedModel | None
    problem: str = ""


def providers_of(vendor: str, prices: OpenList) -> tuple[str, ...]:
    """The providers of the list that are this vendor, the one whose prices come first at the front."""
    wanted = _OF_VENDOR.get(vendor, ())
    return tuple(dict.fromkeys(name for each in wanted for name in prices.providers if fnmatchcase(name, each)))


def models_of(provider: Provider, listed_providers: Iterable[str], prices: OpenList) -> list[MatchedModel]:
    """Each model of the Provider, by the name that the vendor has for it, or else by the one of its clients."""
    names = tuple(listed_providers)
    return [match(model.name, (model.upstream_name, model.name), names, prices) for model in provider.models]


def match(name: str, called: Sequence[str], providers: Sequence[str], prices: OpenList) -> MatchedModel:
    """The first of these names that the first of these providers of the list has, whole or without what is before /."""
    tried = dict.fromkeys([*called, *(each.rpartition("/")[2] for each in called)])
    for provider in providers:
        for each in tried:
            if (listed := prices.providers.get(provider, {}).get(each)) is not None:
                return MatchedModel(name, (provider, each), listed)
    left_out = next(
        (remark for remark in prices.remarks if remark.provider in providers and remark.model in tried),
        None,
    )
    if left_out is not None:
        return MatchedModel(name, (left_out.provider, left_out.model), None, left_out.text)
    known = [model for provider in providers for model in prices.providers.get(provider, {})]
    problem = f"the list has no {' or '.join(dict.fromkeys(called))}{did_you_mean(called[0], known)}"
    return MatchedModel(name, (providers[0] if providers else "", called[0]), None, problem)
