"""Which of the namespaces that this operator was given may be read now."""

import logging
from collections.abc import Callable, Mapping, Sequence

_log = logging.getLogger(__name__)


class ReadableNamespaces:
    """What was read of a namespace before its rights were lost stays in force; that is up to the caller."""

    def __init__(self, namespaces: Sequence[str], on_change: Callable[[Mapping[str, str]], None]) -> None:
        """`on_change` gets the namespaces that may not be read, each with the reason. No namespaces: all, as one."""
        self._namespaces = namespaces
        self._on_change = on_change
        self.refused: Mapping[str, str] = {}

    @property
    def readable(self) -> Sequence[str]:
        """Those that may be read, in their order."""
        return [namespace for namespace in self._namespaces if namespace not in self.refused]

    def update(self, refused: Mapping[str, str]) -> None:
        """Log once of each namespace that it cannot be read, and once that it can be again."""
        for namespace, reason in refused.items():
            if namespace not in self.refused:
                _log.warning(
                    "namespace %s cannot be read, and the others are served without it: %s. "
                    "Does it exist, and is there a Role with a RoleBinding for this account?",
                    namespace, reason, extra={"namespace": namespace},
                )  # fmt: skip
        for namespace in self.refused.keys() - refused.keys():
            _log.info("namespace %s can be read now", namespace, extra={"namespace": namespace})
        self.refused = dict(refused)
        self._on_change(self.refused)
