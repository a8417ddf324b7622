"""The clients of all Secrets with client keys, and what is wrong with single entries. Pure.

A bad entry costs itself alone. Of two with the same name or key the first counts, by the Secret's name and then the
entry's, so that nobody who adds a Secret takes over what another has.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

import msgspec

from limpet_extproc.contract.client_keys import ClientKey
from limpet_operator.planning.finding import ACCEPTED, Finding, accepted, not_accepted
from limpet_operator.resources.client_keys import EntryError, client_key, shown_name
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.secret import SecretObject


class PlannedClients(NamedTuple):
    """Who has a key."""

    keys: tuple[ClientKey, ...] = ()
    findings: Mapping[ObjectKey, Finding] = {}
    """Of each Secret."""


def planned_clients(secrets: Iterable[SecretObject], namespace: str | None) -> PlannedClients:
    """The clients of these Secrets.

    `namespace`: of those in this one alone, as whoever can create a Secret elsewhere must not give keys of this
    gateway. None: of all.
    """
    names: dict[str, ObjectKey] = {}
    owners: dict[str, str] = {}
    keys: list[ClientKey] = []
    findings: dict[ObjectKey, Finding] = {}
    for secret in sorted(secrets, key=lambda each: each.key):
        if not secret.for_clients or namespace not in (None, secret.key.namespace):
            continue
        wrong: list[str] = []
        for name in sorted(secret.values):
            try:
                key = client_key(name, secret.values[name])
            except EntryError as error:
                wrong.append(f"{shown_name(name)}: {error}")
                continue
            if (other := names.setdefault(name, secret.key)) != secret.key:
                wrong.append(f"{name}: {other} has a client of this name already, which counts; take one of them out")
                continue
            free = [digest for digest in key.digests if owners.setdefault(digest, name) == name]
            if len(free) < len(key.digests):
                taken = next(owners[digest] for digest in key.digests if owners[digest] != name)
                wrong.append(f"{name}: its key is that of {taken} already, which keeps it; give each a key of its own")
            if free:
                keys.append(msgspec.structs.replace(key, digests=tuple(free)))
        findings[secret.key] = _finding(wrong, len(secret.values))
    return PlannedClients(tuple(sorted(keys, key=lambda each: each.name)), findings)


def _finding(wrong: list[str], entries: int) -> Finding:
    if wrong:
        used = "; the other entries are used" if len(wrong) < entries else ""
        return not_accepted("Invalid", "; ".join(wrong) + used)
    return accepted(f"keys of {entries} client{'' if entries == 1 else 's'}") if entries else ACCEPTED
