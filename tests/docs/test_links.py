"""Every page that a page links to exists, so does every file that a page names, and the index has every decision."""

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs" / "decisions" / "README.md"
PAGES = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), INDEX, ROOT / "charts" / "limpet" / "README.md"]
RECORDS = sorted(ROOT.glob("docs/decisions/[0-9]*.md"))
PACKAGES = [ROOT / folder / f"limpet_{folder}" for folder in ("extproc", "operator", "activity", "lab")]

_FENCE = re.compile(r"^ *```.*?^ *```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]+\]\((?!\w+:)([^)#]*)(?:#([^)]*))?\)")
_NAMED = re.compile(r"`((?:[\w.-]+/)+[\w.-]*\.(?:py|lua|yaml|md|sh|lock)|(?:[\w-]+/)+)`")
_MENTION = re.compile(r"\bdocs/(?:decisions/\d{4}|[a-z]+\.md)")


def prose(page: Path) -> str:
    """The text of a page without its fenced blocks."""
    return _FENCE.sub("", page.read_text())


def anchors(page: Path) -> Iterator[str]:
    """The anchors of the headings, as GitHub makes them."""
    seen = Counter[str]()
    for heading in re.findall(r"^#+ +(.+)$", prose(page), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        yield f"{slug}-{seen[slug]}" if seen[slug] else slug
        seen[slug] += 1


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", [*PAGES, *RECORDS], ids=name)
def test_links_lead_to_files_and_headings(page: Path) -> None:
    for path, anchor in _LINK.findall(prose(page)):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{path} does not exist"
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}: no such heading"


# Decision records are left out: their paths are those of their time.
@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_named_in_a_page_exist(page: Path) -> None:
    roots = [ROOT, page.parent, *PACKAGES]
    missing = [path for path in _NAMED.findall(prose(page)) if not any((root / path).exists() for root in roots)]
    assert missing == []


@pytest.mark.parametrize("folder", ["operator", "extproc", "lab", "charts", "crds", "tests"])
def test_documents_named_in_the_code_exist(folder: str) -> None:
    documents = {name(page) for page in PAGES} | {f"docs/decisions/{record.name[:4]}" for record in RECORDS}
    for file in (ROOT / folder).rglob("*"):
        if file.suffix in {".py", ".lua", ".yaml", ".tpl", ".txt", ".json"}:
            assert set(_MENTION.findall(file.read_text())) <= documents, file


def test_the_index_lists_every_decision_with_its_title() -> None:
    lines = []
    for record in RECORDS:
        number, title = record.read_text().splitlines()[0].removeprefix("# ").split(". ", 1)
        assert record.name.startswith(f"{int(number):04}-"), f"{record.name} is number {number}"
        lines.append(f"- [{int(number):04}]({record.name}): {title}")
    assert [line for line in INDEX.read_text().splitlines() if line.startswith("- [")] == lines
