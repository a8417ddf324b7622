"""Which Secrets and ConfigMaps the Providers name, and what is planned while some of them are still unknown."""

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from dataclasses import replace

from limpet_operator.resources.objects import Objects, Parsed
from limpet_operator.resources.problem import ObjectKey
from limpet_operator.resources.provider import Provider, SecretKeyRef


def references(objects: Objects) -> frozenset[ObjectKey]:
    """Everything that must be read to plan these objects."""
    return frozenset(key for each in objects.of(Provider) for key in named_by(each))


def named_by(each: Parsed | None) -> Iterator[ObjectKey]:
    """What an object names, which only Providers do; always in its own namespace."""
    if not isinstance(each, Provider):
        return
    namespace = each.key.namespace
    if each.credential is not None and isinstance(each.credential.source, SecretKeyRef):
        yield ObjectKey("Secret", namespace, each.credential.source.name)
    for _, ref in each.headers.secret:
        yield ObjectKey("Secret", namespace, ref.name)
    if each.tls is not None and each.tls.ca is not None:
        yield ObjectKey(each.tls.ca.kind, namespace, each.tls.ca.name)


def without_unknown(objects: Objects, before: Objects, unknown: AbstractSet[ObjectKey]) -> Objects:
    """The objects to plan now. A Provider with a reference that is still unknown stays as it was before, or away.

    To call a Secret missing before it was read would take the Provider out of service for a moment. If nothing else
    has changed the result is `before` itself, so the same is not planned again.
    """
    waiting = {each.key for each in objects.of(Provider) if unknown and not unknown.isdisjoint(named_by(each))}
    if not waiting:
        return objects
    previous = {key: before.parsed[key] for key in waiting if key in before.parsed}
    parsed = {key: each for key, each in objects.parsed.items() if key not in waiting} | previous
    # References of the previous state may have been dropped from the store since: they are planned as they were read.
    for key in {named for each in previous.values() for named in named_by(each)} - parsed.keys():
        if key in before.parsed:
            parsed[key] = before.parsed[key]
    now = replace(objects, parsed=parsed)
    return before if now == before else now
