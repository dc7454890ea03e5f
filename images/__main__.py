"""Command line: what the stack's images contain, and how they get to other machines."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from cdc_workstation.settings import connection_file
from images import archive, registry
from images.engine import ImagesError, declared, inspect
from images.sbom import counts, write_sbom

_COLUMNS = {"deb": "Debian", "pypi": "PyPI", "maven": "Maven", "golang": "Go", "generic": "JRE"}


def report(stack_dir: Path, sboms: Path, console: Console) -> None:
    """Write a document of each image's packages, and print how many there are."""
    table = Table("image", "version", "tag", "size", "base", *_COLUMNS.values(), box=None, header_style="bold")
    for column in (3, *range(5, 5 + len(_COLUMNS))):
        table.columns[column].justify = "right"
    for image in inspect(declared(stack_dir)):
        with console.status(f"Reading {image.reference}"):
            document = write_sbom(image, sboms)
        found = counts(document)
        properties = {one["name"]: one["value"] for one in document["metadata"]["component"].get("properties", [])}
        table.add_row(
            image.name,
            image.version,
            image.tag.rpartition("-")[2],
            megabytes(image.size),
            properties.get("cdc-workstation:suite", ""),
            *(str(found[ecosystem] or "") for ecosystem in _COLUMNS),
        )
    console.print(table)
    console.print(f"\nWhat each contains, as CycloneDX documents: {sboms}/*.cdx.json", highlight=False, soft_wrap=True)


def megabytes(size: int) -> str:
    """Write a size, given in bytes, as the engine does."""
    return f"{size / 1e6:.0f} MB"


def main() -> int:
    """Run the command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m images", description=__doc__)
    parser.add_argument(
        "--stack-dir", type=Path, default=connection_file().parent, help="where the stack was deployed from"
    )
    commands = parser.add_subparsers(dest="command", required=True)
    reporting = commands.add_parser("report", help=report.__doc__)
    reporting.add_argument("--sboms", type=Path, default=Path("build/sbom"), help="directory of the documents")
    for name, text in (("save", archive.save.__doc__), ("load", archive.load.__doc__)):
        command = commands.add_parser(name, help=(text or "").partition("\n")[0])
        command.add_argument("archive", type=Path)
    for name, text in (("push", registry.push.__doc__), ("pull", registry.pull.__doc__)):
        command = commands.add_parser(name, help=(text or "").partition("\n")[0])
        command.add_argument("registry")
    given = parser.parse_args()
    console = Console(width=None if sys.stdout.isatty() else 120)

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    try:
        if given.command == "report":
            report(given.stack_dir, given.sboms, console)
        elif given.command == "save":
            archive.save(declared(given.stack_dir), given.archive, say)
        elif given.command == "load":
            archive.load(given.archive, say)
        elif given.command == "push":
            registry.push(declared(given.stack_dir), given.registry, say)
        else:
            registry.pull(declared(given.stack_dir), given.registry, say)
    except ImagesError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
