"""The output of `limpet validate`: one line per object, right or wrong, where, and what to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from limpet_operator.planning.finding import ACCEPTED
from limpet_operator.planning.plan import Plan, plan
from limpet_operator.resources.objects import Foreign, Parser
from limpet_operator.resources.pricing import Pricing
from limpet_operator.resources.problem import Invalid, Problem
from limpet_operator.sources.file_store import FileStore, ParsedDocument
from limpet_operator.sources.files import Scan
from limpet_operator.status.findings import fresh

Status = Literal["ok", "note", "BAD", "skip"]


@dataclass(frozen=True, slots=True)
class ValidationLine:
    """The result for one object, or for a file or document without any; `place` is where it stands."""

    status: Status
    kind: str
    name: str
    place: str
    problems: tuple[Problem, ...] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong with it. A note is not wrong: some field of it has no effect."""
        return self.status != "BAD"


def validate(scan: Scan, env: Mapping[str, str], parser: Parser, now: datetime | None = None) -> list[ValidationLine]:
    """One line per document, in the files' order; references to other objects are checked, too, and ages at `now`."""
    store = FileStore(parser)
    store.replace(scan.documents)
    return lines_of(store.readings, plan(store.objects, env), now)


def lines_of(readings: Iterable[ParsedDocument], planned: Plan, now: datetime | None = None) -> list[ValidationLine]:
    """The same for documents that have been read and planned already."""
    return [_line(reading, planned, now) for reading in readings]


def exit_status(lines: Iterable[ValidationLine], strict: bool = False) -> int:
    """0 if nothing is wrong, else 1; `strict`: 1 also for notes. No lines at all is wrong, too."""
    lines = list(lines)
    wrong = [line for line in lines if not line.ok or (strict and line.status == "note")]
    return 1 if wrong or not lines else 0


def render_line(line: ValidationLine) -> str:
    """Plain text; several problems of one object stand below it, one a line."""
    head = f"{line.status:<4} {' '.join(filter(None, (line.kind, line.name)))}".rstrip()
    match line.problems:
        case ():
            return f"{head}  ({line.place})" + (f": {line.note}" if line.note else "")
        case (problem,):
            return f"{head}  ({line.place}): {problem}"
        case problems:
            return f"{head}  ({line.place}):" + "".join(f"\n       {problem}" for problem in problems)


def _aged(result: object, now: datetime | None) -> tuple[Problem, ...]:
    """What the condition Fresh of a Pricing would warn of; an age that nobody asked to know is none."""
    if now is None or not isinstance(result, Pricing):
        return ()
    found = fresh(result, now)
    return (Problem(found.reason, found.message),) if found.reason in ("Stale", "DateInFuture") else ()


def _line(reading: ParsedDocument, planned: Plan, now: datetime | None) -> ValidationLine:
    origin, result, key = reading.document.origin, reading.result, reading.key
    raw = reading.document.raw
    named = raw.get("kind") if isinstance(raw, dict) else None
    kind = key.kind if key else named if isinstance(named, str) else "document" if origin.document else "file"
    name = key.display_name if key else ""
    if isinstance(result, Foreign):
        return ValidationLine("skip", kind, name, str(origin), note=result.note)
    problems = result.problems if isinstance(result, Invalid) else ()
    notes: tuple[Problem, ...] = ()
    used = ""
    if reading.duplicate_of is not None:
        message = f"Duplicate: {key} is already in {reading.duplicate_of}, which counts; take one of them out"
        problems = (Problem("metadata.name", message), *problems)
    elif key is not None and key in planned.findings and not problems:
        findings = planned.findings[key]
        failed = [each for each in (findings.accepted, findings.resolved_refs) if not each.ok]
        problems = tuple(Problem(each.reason, each.message) for each in failed)
        notes = (*(Problem(note.reason, note.message) for note in findings.notes), *_aged(result, now))
        used = "" if findings.accepted == ACCEPTED else findings.accepted.message
    status: Status = "BAD" if problems else "note" if notes else "ok"
    return ValidationLine(status, kind, name, str(origin), problems + notes, note=used)
