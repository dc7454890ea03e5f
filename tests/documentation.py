"""The pages of the documentation, taken apart: their code blocks, links and names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]

# Reasons stand in a comment above a block, where readers of the page do not see them.
_NOT_RUN = re.compile(r"^ *<!-- not run: (?P<reason>.+) -->$")
_UNTIL_INTERRUPTED = "<!-- until Ctrl-C -->"
_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)(?P<more>.*)$")
_FILE = re.compile(r"^In `(?P<path>[^`]+)`:$")
_HEADING = re.compile(r"^#{1,6} (?P<title>.+)$")


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Attributes:
        page: the page's path in the repository.
        line: the line of its fence.
        language: what stands behind the fence: `sh`, `python`, `yaml`, `text`, ...
        code: its lines.
        file: the file that it shows, if the line above says `In `path`:`; otherwise empty.
        not_run: why no test runs it; empty if one does.
        until_interrupted: whether its command goes on until Ctrl-C.
    """

    page: str
    line: int
    language: str
    code: str
    file: str = ""
    not_run: str = ""
    until_interrupted: bool = False


def pages() -> list[Path]:
    """Return the pages that users read: the README, and everything in `docs`."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def name_of(page: Path) -> str:
    """Return a page's path in the repository."""
    return str(page.relative_to(ROOT))


def blocks(page: Path) -> Iterator[Block]:
    """Yield a page's fenced code blocks."""
    opened: tuple[int, str, str, list[str]] | None = None
    # The lines above a fence that are not empty; the nearest first.
    above: list[str] = []
    lines: list[str] = []
    for number, line in enumerate(page.read_text().splitlines(), 1):
        fence = _FENCE.match(line)
        if opened is None and fence:
            opened = (number, fence["language"], fence["indent"], above)
            lines = []
        elif opened is not None and line.strip() == "```":
            start, language, indent, before = opened
            reason = _NOT_RUN.match(before[0])
            comment = reason is not None or before[0].strip() == _UNTIL_INTERRUPTED
            file = _FILE.match(before[1 if comment else 0])
            yield Block(
                page=name_of(page),
                line=start,
                language=language,
                code="".join(f"{one.removeprefix(indent)}\n" for one in lines),
                file=file["path"] if file else "",
                not_run=reason["reason"] if reason else "",
                until_interrupted=before[0].strip() == _UNTIL_INTERRUPTED,
            )
            opened = None
        elif opened is not None:
            lines.append(line)
        if line.strip():
            above = [line, *above[:1]]
    assert opened is None, f"{name_of(page)}:{opened and opened[0]}: the code block has no end"


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    kept, inside = [], False
    for line in page.read_text().splitlines():
        if _FENCE.match(line):
            inside = not inside
        elif not inside:
            kept.append(line)
    return "\n".join(kept)


def code_spans(page: Path) -> list[str]:
    """Return what stands between backticks in a page's prose, each line's alone."""
    return [span for _, span in re.findall(r"(?<!`)(`{1,2})(?!`)(.+?)(?<!`)\1(?!`)", prose(page))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and GitLab name them."""
    found: set[str] = set()
    for line in prose(page).splitlines():
        heading = _HEADING.match(line)
        if heading:
            title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["title"]).lower()
            slug = re.sub(r"[^\w\- ]", "", title.replace("`", "")).strip().replace(" ", "-")
            copies = sum(one == slug or re.fullmatch(rf"{re.escape(slug)}-\d+", one) is not None for one in found)
            found.add(f"{slug}-{copies}" if copies else slug)
    return found


def links(page: Path) -> list[str]:
    """Return where a page's links and pictures lead."""
    text = prose(page)
    return [*re.findall(r"\]\(([^)\s]+)\)", text), *re.findall(r'(?:src|srcset)="([^"]+)"', text)]


def commands(page: Path) -> list[str]:
    """Return the commands that a page shows: the lines of shell blocks, and the code spans of its prose."""
    shown = code_spans(page)
    for block in blocks(page):
        if block.language in ("sh", "text"):
            joined = block.code.replace("\\\n", " ")
            lines = joined.splitlines()
            prompted = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
            shown += prompted if block.language == "text" else lines
        # Pages whose examples are whole files, such as those of CI.
        elif block.language == "yaml":
            shown += re.findall(r"(?:- |run: |^ {10})((?:make|cdc-workstation) .*)$", block.code, re.MULTILINE)
    # Blocks that are indented rather than fenced.
    shown += [line.strip() for line in prose(page).splitlines() if line.startswith("    ")]
    return shown
