"""Models that no provider is left for: every one that serves them is in trouble. Pure."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from limpet_operator.planning.plan import PlannedProvider

_NAMED: Final = 3
"""Models that a message names."""


class Stranded(NamedTuple):
    """Those of one provider's models that no provider is up for, this one included."""

    models: tuple[str, ...] = ()
    all_of_them: bool = False
    """Whether it has no others."""

    @property
    def clause(self) -> str:
        """For a message; empty: there are none."""
        if not self.models:
            return ""
        more = f" and {len(self.models) - _NAMED} more" if len(self.models) > _NAMED else ""
        return f"no provider of model {', '.join(self.models[:_NAMED])}{more} is up"


NONE_STRANDED: Final = Stranded()


def stranded(providers: Iterable[PlannedProvider], troubled: Mapping[str, frozenset[str]]) -> Mapping[str, Stranded]:
    """By provider, for those that have such models. `troubled`: by provider the models that it is not up for."""
    asked = {model for models in troubled.values() for model in models}
    if not asked:
        return {}
    served = [each for each in providers if each.served]
    up = {
        model.name
        for each in served
        for model in each.spec.models
        if model.name in asked and model.name not in troubled.get(each.name, ())
    }
    found: dict[str, Stranded] = {}
    for each in served:
        own = tuple(model.name for model in each.spec.models)
        if models := tuple(name for name in own if name in asked and name not in up):
            found[each.name] = Stranded(models, len(models) == len(own))
    return found
