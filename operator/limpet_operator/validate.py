"""What `limpet validate` says: one line per object, right or wrong, where, and what to do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from limpet_operator.plan import Plan, plan
from limpet_operator.resources.objects import Foreign, Parser
from limpet_operator.resources.problem import Invalid, Problem
from limpet_operator.sources.files import Scan
from limpet_operator.store import Reading, Store


@dataclass(frozen=True, slots=True)
class Line:
    """What is said about one document. `document` counts from 1; 0 stands for a file that could not be read."""

    status: Literal["ok", "BAD", "skip"]
    kind: str
    name: str
    file: str
    document: int
    problems: tuple[Problem, ...] = ()
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether nothing is to be done about it."""
        return self.status != "BAD"


def validate(scan: Scan, env: Mapping[str, str], parser: Parser) -> list[Line]:
    """One line per document, in the files' order; what an object says about others is included."""
    store = Store(parser)
    store.replace(scan.documents)
    return lines_of(store.readings, plan(store.objects, env))


def lines_of(readings: Iterable[Reading], planned: Plan) -> list[Line]:
    """The same for what has been read and planned already."""
    return [_line(reading, planned) for reading in readings]


def exit_status(lines: Iterable[Line]) -> int:
    """0 if nothing is wrong, else 1."""
    return 0 if all(line.ok for line in lines) else 1


def render_line(line: Line) -> str:
    """Plain text; several problems of one object stand below it, one a line."""
    where = f"{line.file}, document {line.document}" if line.document else line.file
    head = f"{line.status:<4} {' '.join(filter(None, (line.kind, line.name)))}".rstrip()
    match line.problems:
        case ():
            return f"{head}  ({where})" + (f": {line.note}" if line.note else "")
        case (problem,):
            return f"{head}  ({where}): {problem}"
        case problems:
            return f"{head}  ({where}):" + "".join(f"\n       {problem}" for problem in problems)


def _line(reading: Reading, planned: Plan) -> Line:
    origin, result, key = reading.document.origin, reading.result, reading.key
    raw = reading.document.raw
    named = raw.get("kind") if isinstance(raw, dict) else None
    kind = key.kind if key else named if isinstance(named, str) else "document" if origin.document else "file"
    name = key.display_name if key else ""
    if isinstance(result, Foreign):
        return Line("skip", kind, name, origin.file, origin.document, note=result.note)
    problems = result.problems if isinstance(result, Invalid) else ()
    if reading.duplicate_of is not None:
        message = f"Duplicate: {key} is already in {reading.duplicate_of}, which counts; take one of them out"
        problems = (Problem("metadata.name", message), *problems)
    elif key is not None and key in planned.verdicts and not problems:
        verdict = planned.verdicts[key]
        failed = [condition for condition in (verdict.accepted, verdict.resolved_refs) if not condition.ok]
        problems = tuple(Problem(condition.reason, condition.message) for condition in failed)
    return Line("BAD" if problems else "ok", kind, name, origin.file, origin.document, problems)
