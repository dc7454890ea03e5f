"""Write the tables of variables in the README of each role from its argument specs: `python docs/role_tables.py`.

With `--check` nothing is written, and a table that differs is an error.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import yaml

ROLES = Path(__file__).resolve().parents[1] / "roles"
HEADING, HEAD = "\n## Variables\n", "| variable | type | default | what it is |\n| --- | --- | --- | --- |\n"
# A longer default is left to `defaults/main.yml`.
LONG = 60


def load(path: Path) -> dict[str, Any]:
    """Return a YAML file's mapping; empty if there is none."""
    found: dict[str, Any] = (yaml.safe_load(path.read_text(encoding="utf-8")) if path.exists() else None) or {}
    return found


def cell(text: str) -> str:
    """Return a text as a cell: one line, and no `|` that would end it."""
    return " ".join(text.split()).replace("|", "\\|")


def shown(default: Any) -> str:
    """Return a default as code, or in words if it is computed or long."""
    if default is None:
        return "none"
    if isinstance(default, str):
        text = default or '""'
    else:
        text = yaml.safe_dump(default, default_flow_style=True, width=10_000, sort_keys=False)
        text = text.removesuffix("...\n").strip()
    if "{{" in text:
        return "computed"
    return f"`{cell(text)}`" if len(text) <= LONG else "see `defaults`"


def kind(option: dict[str, Any]) -> str:
    """Return an option's type, with that of its items and the values that it may have."""
    name = str(option["type"])
    if "elements" in option:
        name += f" of {option['elements']}"
    if "choices" in option:
        name += ": " + ", ".join(f"`{choice}`" for choice in option["choices"])
    return name


def meaning(option: dict[str, Any]) -> str:
    """Return an option's description as one text."""
    description = option["description"]
    return cell(" ".join(description) if isinstance(description, list) else description).rstrip(".")


def table(role: Path) -> str:
    """Return the table of a role's variables; empty if it has none."""
    options = load(role / "meta" / "argument_specs.yml")["argument_specs"]["main"].get("options", {})
    defaults = load(role / "defaults" / "main.yml")
    rows = [
        f"| `{name}` | {kind(option)} | {shown(option.get('default', defaults.get(name)))} | {meaning(option)} |\n"
        for name, option in options.items()
    ]
    return HEAD + "".join(rows) if rows else ""


def with_table(readme: str, rows: str) -> str:
    """Return a README with the table in its section on variables; what else stands there follows the table."""
    before, heading, rest = readme.partition(HEADING)
    if not heading or not rows:
        return readme
    lines = rest.splitlines(keepends=True)
    first = next((n for n, line in enumerate(lines) if line.startswith("|")), len(lines))
    last = next((n for n in range(first, len(lines)) if not lines[n].startswith("|")), len(lines))
    return "".join([before, heading, *lines[:first], rows, *lines[last:]])


def main() -> int:
    """Write or check all tables; return how many differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail if a table is not up to date")
    only_check = parser.parse_args().check
    differing = []
    for role in sorted(path.parents[1] for path in ROLES.glob("*/meta/argument_specs.yml")):
        readme = role / "README.md"
        text = readme.read_text(encoding="utf-8")
        wanted = with_table(text, table(role))
        if text != wanted:
            differing.append(str(readme.relative_to(ROLES.parent)))
            if not only_check:
                readme.write_text(wanted, encoding="utf-8")
    if only_check and differing:
        sys.stderr.write(f"Not up to date, run `make docs`: {', '.join(differing)}\n")
    return len(differing) if only_check else 0


if __name__ == "__main__":
    sys.exit(main())
