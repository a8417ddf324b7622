"""The objects of a directory: the first of each name, typed, or what is wrong with it.

A document that has not changed keeps its parsed object, by identity, and so does one that is written differently but
means the same: what was built from it need not be built again.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from limpet_operator.resources.objects import Foreign, Objects, Parsed, Parser
from limpet_operator.resources.problem import Invalid, ObjectKey
from limpet_operator.sources.files import Document, Origin


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document and what it was parsed to."""

    document: Document
    result: Parsed | Invalid | Foreign
    duplicate_of: Origin | None = None
    """Where the object of the same name is that takes precedence; None: this one does."""

    @property
    def key(self) -> ObjectKey | None:
        """The object's name, where it has one."""
        return None if isinstance(self.result, Foreign) else self.result.key


class FileStore:
    """The objects of one source; `objects` is replaced as a whole, so readers can keep it."""

    def __init__(self, parser: Parser) -> None:
        self._parser = parser
        self._results: dict[int, tuple[Any, Parsed | Invalid | Foreign]] = {}
        self.objects = Objects()
        self.readings: tuple[ParsedDocument, ...] = ()
        self.synced = False
        """Whether all documents were read once: before that, a missing object means nothing."""

    def replace(self, documents: Iterable[Document]) -> bool:
        """Take in all documents; returns whether any object changed. Of two with one name the first counts."""
        parsed: dict[ObjectKey, Parsed] = {}
        invalid: dict[ObjectKey, Invalid] = {}
        origins: dict[ObjectKey, Origin] = {}
        results: dict[int, tuple[Any, Parsed | Invalid | Foreign]] = {}
        readings: list[ParsedDocument] = []
        for document in documents:
            result = self._result(document)
            # The raw object is kept with its result, so that its id is not reused while it is a key here.
            if document.problem is None:
                results[id(document.raw)] = (document.raw, result)
            reading = _reading(document, result, origins)
            readings.append(reading)
            if reading.key is None or reading.duplicate_of is not None or isinstance(result, Foreign):
                continue
            if isinstance(result, Invalid):
                invalid[reading.key] = result
            else:
                parsed[reading.key] = self._unless_equal(reading.key, result)
        current = Objects(parsed, invalid)
        changed = not self.synced or current != self.objects
        self._results, self.readings, self.synced = results, tuple(readings), True
        if changed:
            self.objects = current
        return changed

    def _result(self, document: Document) -> Parsed | Invalid | Foreign:
        if document.problem is not None:
            return Invalid(None, (document.problem,))
        cached = self._results.get(id(document.raw))
        return cached[1] if cached and cached[0] is document.raw else self._parser.parse(document.raw)

    def _unless_equal(self, key: ObjectKey, result: Parsed) -> Parsed:
        before = self.objects.parsed.get(key)
        return before if before is not None and before == result else result


def _reading(
    document: Document, result: Parsed | Invalid | Foreign, origins: dict[ObjectKey, Origin]
) -> ParsedDocument:
    """Enters the document's origin in `origins` if it is the first with its name."""
    reading = ParsedDocument(document, result)
    if reading.key is None:
        return reading
    first = origins.setdefault(reading.key, document.origin)
    return reading if first is document.origin else replace(reading, duplicate_of=first)
