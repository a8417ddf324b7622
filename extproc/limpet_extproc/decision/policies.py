"""Which policy holds for a model: the most specific pattern, among the policies that may decide about it."""

from collections.abc import Iterable
from collections.abc import Set as AbstractSet
from fnmatch import fnmatchcase

from limpet_extproc.contract.catalog import Policy

_WILD = frozenset("*?[")


class _Patterns:
    """Patterns of several policies. Exact names, of which there may be thousands, are looked up and not tried."""

    def __init__(self, policies: Iterable[Policy]) -> None:
        self._exact: dict[str, Policy] = {}
        wild: list[tuple[int, str, Policy]] = []
        for policy in policies:
            for pattern in policy.models:
                self._exact.setdefault(pattern, policy)
                if not _WILD.isdisjoint(pattern):
                    wild.append((len(pattern.replace("*", "").replace("?", "")), pattern, policy))
        # Sorting keeps the order of those that are as specific as each other: the first holds.
        self._wild = sorted(wild, key=lambda each: -each[0])

    def find(self, model: str) -> Policy | None:
        """An exact name, else the pattern with most literal characters."""
        exact = self._exact.get(model)
        if exact is not None:
            return exact
        return next((policy for _, pattern, policy in self._wild if fnmatchcase(model, pattern)), None)


class Policies:
    """All policies of a catalog."""

    def __init__(self, policies: tuple[Policy, ...]) -> None:
        self.all = policies
        by_namespace: dict[str | None, list[Policy]] = {}
        for policy in policies:
            by_namespace.setdefault(policy.namespace, []).append(policy)
        self._by_namespace = {namespace: _Patterns(found) for namespace, found in by_namespace.items()}

    def holding(self, model: str, namespaces: AbstractSet[str]) -> Policy:
        """For a model whose providers are of these namespaces: the only one's own, the gateway's, the defaults."""
        own = self._find(next(iter(namespaces)), model) if len(namespaces) == 1 else None
        return own or self._find(None, model) or Policy()

    def _find(self, namespace: str | None, model: str) -> Policy | None:
        patterns = self._by_namespace.get(namespace)
        return patterns.find(model) if patterns else None
